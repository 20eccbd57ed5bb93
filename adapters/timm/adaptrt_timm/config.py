"""What a ``config.json`` may say: data of timm's schema, and nothing that makes timm open or download another file."""

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
    """Arguments of timm's factory and builder: they say what is loaded from where, not what the network is like."""
    from timm.models import build_model_with_cfg, create_model

    functions: Iterable[Callable[..., Any]] = (create_model, build_model_with_cfg)
    named = {name for function in functions for name in inspect.signature(function).parameters}
    return frozenset({*named, *_BUILDER} - {"kwargs"})


def checked_config(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The config without the places of other weights; a ``CheckpointError`` names the entry that it may not have."""
    for key, kinds in _FIELDS.items():
        value = content.get(key)
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
            raise CheckpointError(f"{path}: {key} is {value!r}.", hint=f"It takes {kinds[0].__name__}.")
    architecture = content["architecture"]
    if architecture is not None and not _NAME.fullmatch(architecture):
        raise CheckpointError(f"{path}: architecture is {architecture!r}, not a name of timm.")
    arguments = content.get("model_args") or {}
    for key in arguments:
        if key in reserved_arguments():
            raise CheckpointError(
                f"{path}: model_args.{key} is refused: it decides what timm loads, not what the network is.",
                hint="Remove it from the config. Weights are those beside the config, or --weights.",
            )
    overlay = content.get("pretrained_cfg") or {}
    return {**content, "pretrained_cfg": {key: value for key, value in overlay.items() if key not in _WEIGHTS}}


def require_network_arguments(arguments: Iterable[str]) -> None:
    """Refuse ``--set model_args`` with which timm would load weights of its own accord, unread by adaptrt."""
    for key in arguments:
        if key in ("features_only", "out_indices"):
            raise UsageError(f"--set model_args.{key} is an option of its own.", hint=f"--set {key}=...")
        if key in reserved_arguments():
            raise UsageError(
                f"--set model_args.{key} is not an argument of the network.", hint="Weights are given by --weights."
            )
