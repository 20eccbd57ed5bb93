"""Backends that build and run converted models: one folder for each."""
