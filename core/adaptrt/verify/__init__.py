"""Proof that the converted model is the model."""
