"""Validation of ``config.json``: data in timm's schema, and nothing that makes timm open or download another file."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from adaptrt import CheckpointError, UsageError

_NAME = re.compile(r"\w+(\.\w+)*")  # an architecture with its tag; "hf-hub:" and paths are other sources
_BUILDER = ("features_only", "feature_cls", "out_indices", "pruned")  # taken by timm's builder out of its **kwargs
# where timm looks for weights: those beside the config are read here, as data, and no others
_WEIGHTS = ("url", "file", "hf_hub_id", "hf_hub_filename", "state_dict", "source", "custom_load")
_FIELDS: Mapping[str, tuple[type, ...]] = {
    "architecture": (str,),
    "num_classes": (int,),
    "label_names": (list, dict),
    "model_args": (dict,),
    "pretrained_cfg": (dict,),
}


@cache
def reserved_arguments() -> frozenset[str]:
    """Arguments of timm's factory and builder: they control what is loaded from where, not the architecture."""
    from timm.models import build_model_with_cfg, create_model

    functions: Iterable[Callable[..., Any]] = (create_model, build_model_with_cfg)
    named = {name for function in functions for name in inspect.signature(function).parameters}
    return frozenset({*named, *_BUILDER} - {"kwargs"})


def checked_config(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The config without references to other weights; a ``CheckpointError`` names an entry that is not allowed."""
    for key, kinds in _FIELDS.items():
        value = content.get(key)
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
            raise CheckpointError(f"{path}: {key} is {value!r}.", hint=f"Expected type: {kinds[0].__name__}.")
    architecture = content["architecture"]
    if architecture is not None and not _NAME.fullmatch(architecture):
        raise CheckpointError(f"{path}: architecture is {architecture!r}, which is not a timm model name.")
    arguments = content.get("model_args") or {}
    for key in arguments:
        if key in reserved_arguments():
            raise CheckpointError(
                f"{path}: model_args.{key} is not allowed: it controls what timm loads, not the architecture.",
                hint="Remove it from the config. Weights are read from the same folder, or from --weights.",
            )
    overlay = content.get("pretrained_cfg") or {}
    return {**content, "pretrained_cfg": {key: value for key, value in overlay.items() if key not in _WEIGHTS}}


def require_network_arguments(arguments: Iterable[str]) -> None:
    """Reject ``--set model_args`` that make timm load weights itself, bypassing adaptrt."""
    for key in arguments:
        if key in ("features_only", "out_indices"):
            raise UsageError(f"--set model_args.{key} is a separate option.", hint=f"--set {key}=...")
        if key in reserved_arguments():
            raise UsageError(
                f"--set model_args.{key} is not an argument of the network.", hint="Specify weights with --weights."
            )
