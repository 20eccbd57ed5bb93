"""Reads ONNX files without the package onnx."""
