"""Tensors inside a model: compared between its forms, and returned."""
