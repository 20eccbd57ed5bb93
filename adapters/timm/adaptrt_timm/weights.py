"""Weights files: tensors by name, and metadata that training scripts save with them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt import AdaptrtError
from adaptrt.checkpoint import read_checkpoint, read_state_dict

if TYPE_CHECKING:
    import torch

# classes of a pickled model, and configurations that training scripts save along: of timm's train.py, of the first Swin
# repository, of others
INERT = ("timm", "torch.nn", "argparse", "easydict", "ml_collections", "omegaconf", "yacs")
WRAPPERS = ("model", "net", "timm_model")  # attributes of LightningModules, and of Transformers' wrapper


def read_weights(path: Path, *, trust: bool = False) -> dict[str, torch.Tensor]:
    """Tensors by name, as in the model's state dict, also if the model is an attribute of the saved object.

    They are read as data; with ``trust`` torch unpickles them, which can run code in the file.
    """
    tensors = read_state_dict(path, inert=INERT, trust=trust)
    roots = {name.partition(".")[0] for name in tensors}
    if len(roots) != 1 or not roots <= set(WRAPPERS):
        return tensors
    return {name.partition(".")[2]: tensor for name, tensor in tensors.items()}


def architecture_in(path: Path) -> str | None:
    """The model's name if the training script saved it (timm: ``arch``), else ``None``."""
    if not path.is_file():
        return None
    status = path.stat()
    return _architecture_in(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _architecture_in(path: Path, *_: int) -> str | None:
    try:
        content = read_checkpoint(path, inert=INERT)
    except AdaptrtError:
        return None  # reading the weights reports the error
    arch = content.get("arch") if isinstance(content, Mapping) else None
    return arch if isinstance(arch, str) else None
