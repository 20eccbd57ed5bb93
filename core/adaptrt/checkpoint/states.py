"""State dicts (name to tensor), wherever they are in a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.checkpoint.inert import InertObject
from adaptrt.checkpoint.kinds import DOWNLOAD_AGAIN, is_safetensors
from adaptrt.checkpoint.reader import read_checkpoint
from adaptrt.errors import CheckpointError

if TYPE_CHECKING:
    import os

    import torch

NESTINGS = ("state_dict_ema", "model_ema", "ema", "state_dict", "model", "module", "net", "params")
PREFIXES = ("module.", "_orig_mod.")
MAX_DEPTH = 100
MAX_MODULES = 100_000  # a pickle may repeat the same module many times, at every level


def read_state_dict(
    path: str | os.PathLike[str], *, inert: Sequence[str] = (), trust: bool = False
) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint or safetensors file, by name.

    Looks where training code usually puts them (``state_dict``, ``model``, ``ema`` ...; averaged weights first, as
    frameworks do at inference) and drops the prefixes of ``DataParallel`` and ``torch.compile``. A pickled module
    (``inert`` must cover its classes) gives the tensors that its ``state_dict()`` would return. ``trust`` is that of
    ``read_checkpoint``.
    """
    path = Path(path)
    if path.is_file() and is_safetensors(path):
        return _without_prefixes(_read_safetensors(path))
    return _tensors_in(read_checkpoint(path, inert=inert, trust=trust), path)


def _tensors_in(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """The tensors by name in the content of the checkpoint ``path``: as ``read_state_dict`` finds them, else all tensors in
    nested dicts, by dotted names. A loaded ``nn.Module`` counts as its ``state_dict()``."""
    found = _find(content) or _flatten(content)
    if not found:
        raise CheckpointError(
            f"{path} contains no state dict.",
            hint="Looked for tensors by name at the top and under " + ", ".join(NESTINGS) + ".",
        )
    return _without_prefixes(found)


def tensors_of(module: InertObject) -> dict[str, torch.Tensor]:
    """The state dict of a pickled ``nn.Module``: its parameters and persistent buffers by dotted name."""
    import torch

    tensors: dict[str, torch.Tensor] = {}
    pending: list[tuple[str, InertObject, int]] = [("", module, 0)]
    seen = 0
    while pending:
        prefix, current, depth = pending.pop()
        seen += 1
        if depth > MAX_DEPTH:
            raise CheckpointError("The modules in this checkpoint are nested too deeply.", hint=DOWNLOAD_AGAIN)
        hidden = current.get("_non_persistent_buffers_set")
        hidden = hidden if isinstance(hidden, (set, list, tuple)) else ()
        for kind in ("_parameters", "_buffers"):
            for name, tensor in current.mapping(kind).items():
                if isinstance(tensor, torch.Tensor) and not (kind == "_buffers" and name in hidden):
                    tensors[prefix + name] = tensor
        for name, child in reversed(current.mapping("_modules").items()):
            if isinstance(child, InertObject):
                pending.append((f"{prefix}{name}.", child, depth + 1))
        if seen > MAX_MODULES or len(pending) + len(tensors) > 1_000_000:
            raise CheckpointError("The modules in this checkpoint contain each other.", hint=DOWNLOAD_AGAIN)
    return tensors


def _find(value: Any, depth: int = 0) -> dict[str, torch.Tensor]:
    import torch

    if isinstance(value, InertObject):
        return tensors_of(value)
    if isinstance(value, torch.nn.Module):
        return dict(value.state_dict())
    if not isinstance(value, Mapping):
        return {}
    own = {key: item for key, item in value.items() if isinstance(key, str) and isinstance(item, torch.Tensor)}
    if depth < 3:
        for nesting in NESTINGS:
            found = _find(value.get(nesting), depth + 1)
            if found:
                return found
    return own


def _flatten(content: Any) -> dict[str, torch.Tensor]:
    """State dicts under custom names, such as ``generator`` and ``discriminator``."""
    if not isinstance(content, Mapping):
        return {}
    return {
        f"{key}.{name}": tensor
        for key, value in content.items()
        if isinstance(key, str)
        for name, tensor in _find(value).items()
    }


def _without_prefixes(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    stripped = True
    while stripped and tensors:
        stripped = False
        for prefix in PREFIXES:
            if all(name.startswith(prefix) for name in tensors):
                tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
                stripped = True
    return tensors


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        from safetensors.torch import load
    except ImportError as error:
        raise CheckpointError(f"{path} is a safetensors file.", hint="To read it: pip install safetensors") from error
    try:
        # its load_file returns tensors in a memory map: a checkpoint that is rewritten would change them, or end the process by SIGBUS
        return load(path.read_bytes())
    except Exception as error:
        raise CheckpointError(f"{path} is damaged: {error}.", hint=DOWNLOAD_AGAIN) from error
