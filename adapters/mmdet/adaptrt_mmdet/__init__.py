"""Adapters for MMDetection. Importing this package imports neither mmdet nor torch."""
