"""Checks a ``config.pbtxt`` against Triton's own message, which the package ``tritonclient`` contains."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from adaptrt import GraphError


def can_check() -> bool:
    """Whether tritonclient with its gRPC part is installed."""
    return find_spec("tritonclient") is not None and find_spec("grpc") is not None


def parse_config(text: str, name: str = "config.pbtxt") -> Any:
    """The ``ModelConfig``; a ``GraphError`` names an unknown key or an invalid value, with its line."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    try:
        return text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        raise GraphError(
            f"{name} is not a valid configuration of Triton: {error}.",
            hint="Compare it with Triton's model_config.proto.",
        ) from error
