"""Reads checkpoints of mmdet and mmengine, published or straight from training, as data."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt import CheckpointError
from adaptrt.checkpoint import is_safetensors, read_checkpoint, read_state_dict
from adaptrt_mmdet.labels import names_in

if TYPE_CHECKING:
    import torch

# a raw checkpoint pickles its logs (HistoryBuffer, whose methods it names with getattr) and the states of hooks
INERT = ("mmengine", "mmcv", "mmdet", "builtins.getattr")


@dataclass(frozen=True)
class Checkpoint:
    """Weights by name, and class names and config text if the file has them.

    ``trusted``: the user allows code in the file to run.
    """

    path: Path
    weights: Mapping[str, torch.Tensor]
    labels: tuple[str, ...] = ()
    config: str | None = None
    trusted: bool = False

    def config_text(self) -> str:
        """The unmodified config text in the metadata; a ``CheckpointError`` if there is none."""
        if not self.config:
            raise CheckpointError(
                f"{self.path.name} contains no config, so the network is unknown.",
                hint=f"Specify its config: adaptrt convert --adapter ... my_config.py --weights {shlex.quote(str(self.path))}",
            )
        return self.config


def open_checkpoint(path: Path, *, trust: bool = False) -> Checkpoint:
    """Read a checkpoint without executing it; ``trust`` unpickles it, which executes its code."""
    import torch

    if path.is_file() and is_safetensors(path):  # weights alone
        content: Any = read_state_dict(path)
    else:
        content = read_checkpoint(path, inert=INERT, trust=trust)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path.name} is not an mmdet checkpoint: it contains a {type(content).__name__}.")
    weights = content.get("state_dict", content)
    if not isinstance(weights, Mapping):
        raise CheckpointError(f"{path.name}: its state_dict is a {type(weights).__name__}.")
    tensors = {
        str(name).removeprefix("module."): tensor
        for name, tensor in weights.items()
        if isinstance(tensor, torch.Tensor)
    }
    if not tensors:
        raise CheckpointError(
            f"{path.name} contains no weights: no tensors under 'state_dict' or at the top level.",
            hint="Use a file written by mmengine (epoch_12.pth, best_*.pth) or a published one.",
        )
    meta = content.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    config = meta.get("cfg") or meta.get("config")
    return Checkpoint(path, tensors, _labels(meta), config if isinstance(config, str) else None, trust)


def _labels(meta: Mapping[Any, Any]) -> tuple[str, ...]:
    """``dataset_meta`` (mmdet 3, in either case) or ``CLASSES`` (mmdet 2)."""
    dataset = meta.get("dataset_meta")
    return names_in(dataset if isinstance(dataset, Mapping) else {}, meta)
