"""Names of operators."""

from __future__ import annotations

STANDARD = ("", "ai.onnx")
"""Both names of ONNX's own domain."""


def operator_name(domain: str, operator: str) -> str:
    """``Conv``; with its domain if that is not ONNX's own: ``com.microsoft.FusedConv``."""
    return operator if domain in STANDARD else f"{domain}.{operator}"
