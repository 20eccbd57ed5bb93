"""Resolves SOURCE: a model name, a weights file, or a folder in timm's layout."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adaptrt import CheckpointError, Conversion, ModelError, UsageError, did_you_mean
from adaptrt.checkpoint import is_checkpoint_name
from adaptrt_timm.config import checked_config
from adaptrt_timm.weights import architecture_in

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin", "model.pth")


@dataclass(frozen=True)
class Source:
    """A model of timm by name, and where its weights and its config come from.

    ``config`` has timm's schema (``config.json`` of its hub format): ``architecture``, ``model_args``,
    ``pretrained_cfg``, ``num_classes``, ``label_names``; it has passed ``checked_config``. Without ``weights`` the model
    has random ones.
    """

    name: str
    weights: Path | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        return dict(self.config.get("pretrained_cfg") or {})

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the classes. A table has their numbers as keys, in any order: as text, 10 comes before 2."""
        names = self.config.get("label_names") or self.pretrained_cfg.get("label_names") or ()
        if not isinstance(names, Mapping):
            return tuple(map(str, names))
        numbers = [str(number) for number in range(len(names))]
        if {*names} != {*numbers}:
            raise CheckpointError(
                f"The keys of label_names of {self.name} are not the numbers of {len(names)} classes, from 0.",
                hint="Write the names as a list in config.json, or specify them: --set labels=FILE",
            )
        return tuple(str(names[number]) for number in numbers)


def find_source(ctx: Conversion, known: Collection[str], family: str) -> Source:
    """The source of a conversion; ``known`` are the names of ``family`` that this adapter takes."""
    text, weights = ctx.request.source, ctx.request.weights
    path = Path(text.removeprefix("local-dir:"))
    config: dict[str, Any] = {}
    if text.startswith(("hf-hub:", "hf_hub:", "http://", "https://")):
        raise UsageError(
            f"{text} is a remote source; adaptrt downloads nothing.",
            hint="Download it first (huggingface-cli download ... --local-dir FOLDER), then pass the folder.",
        )
    if path.is_dir():
        if not (path / CONFIG).is_file():
            raise ModelError(
                f"{path} has no {CONFIG}.", hint="A folder must have timm's layout: config.json and model.safetensors."
            )
        config = _read_config(path / CONFIG)
        weights = weights or next((path / name for name in WEIGHTS if (path / name).is_file()), None)
        if weights is None:
            raise CheckpointError(
                f"{path} contains no weights.", hint=f"Add one of {', '.join(WEIGHTS)}, or use --weights."
            )
    elif path.is_file() or is_checkpoint_name(text):
        weights = weights or path
        places = [path.with_suffix(".json"), *([path.with_name(CONFIG)] if path.name in WEIGHTS else [])]
        beside = next((place for place in places if place.is_file()), None)
        config = _read_config(beside) if beside else {}
    elif ctx.options.model is None:
        return Source(_checked(text, known, family), weights)
    name = ctx.options.model or config.get("architecture") or (architecture_in(weights) if weights else None)
    if not name:
        raise UsageError(
            f"The timm model of the weights in {path.name} is unknown.",
            hint=f"Specify it (--set model={min(known)}), or put timm's config.json next to them as {path.stem}.json.",
        )
    return Source(_checked(str(name), known, family), weights, config)


def _checked(name: str, known: Collection[str], family: str) -> str:
    """The name, with its tag (``swin_tiny_patch4_window7_224.ms_in22k``), if timm has such a model."""
    architecture = name.partition(".")[0]
    if architecture in known:
        return name
    import timm

    if timm.is_model(architecture):
        raise UsageError(f"{architecture} is not a {family}.", hint="Use --adapter timm for the other models of timm.")
    raise ModelError(
        f"{name!r} is neither a timm model nor a file.", hint=did_you_mean(architecture, known) if known else None
    )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{path} cannot be read: {error}.", hint="It must be timm's config.json, in JSON.") from error
    if not isinstance(content, dict) or "architecture" not in content:
        return {}  # another tool's file of the same name
    return checked_config(content, path)
