"""``read_checkpoint``: any file of ``torch.save``, as data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.checkpoint.kinds import DOWNLOAD_AGAIN, check_kind
from adaptrt.errors import AdaptrtError, CheckpointError

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from adaptrt.checkpoint.machine import Machine

TRUST = "If you trust whoever made this file, let its framework load it: --trust-checkpoint"


def read_checkpoint(path: str | os.PathLike[str], *, inert: Sequence[str] = (), trust: bool = False) -> Any:
    """What was given to ``torch.save``, read without executing the pickle.

    Tensors (on the CPU, no gradient, sharing storage as they did), plain containers, numpy arrays, paths and dates come
    back as themselves. Names that ``inert`` covers, exactly or as a dotted prefix (``"models"``), come back as
    ``InertName`` and ``InertObject``. Anything else is a ``CheckpointError`` that lists every name the file wants, and
    so is every kind of damaged or foreign file.

    With ``trust``, the user's own word (``--trust-checkpoint``), ``torch.load`` reads it, which runs what it asks for.
    """
    path = Path(path)
    if trust:
        return _unpickled(path)
    kind = check_kind(path)
    from adaptrt.checkpoint import legacy, ziparchive

    read = ziparchive.read if kind == "zip" else legacy.read
    machines: list[Machine] = []
    try:
        result = read(path, inert, machines)
    except AdaptrtError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:
        # A malformed pickle can trip any line of the machine; whatever it was, the file is at fault, not the code.
        _refuse(path, machines)
        reason = str(error).partition("\n")[0][:300] or type(error).__name__
        raise CheckpointError(f"{path} is damaged: {reason}.", hint=DOWNLOAD_AGAIN) from error
    _refuse(path, machines)
    return result


def _unpickled(path: Path) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # whatever the file's own code raises
        check_kind(path)  # says more, where it is no checkpoint
        raise CheckpointError(
            f"torch cannot read {path}: {type(error).__name__}: {error}",
            hint="Its classes have to be importable here, under the names that they had when it was saved.",
        ) from error


def _refuse(path: Path, machines: Sequence[Machine]) -> None:
    names = [name for machine in machines for name in machine.refused]
    if names:
        shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
        raise CheckpointError(f"{path} wants to import what plain weights do not need: {shown}.", hint=_hint(names))


def _hint(names: Sequence[str]) -> str:
    """The wrong adapter is a likelier reason than an odd checkpoint, and nothing to trust anybody for."""
    packages = {name.partition(".")[0] for name in names} - {"torch", "numpy", *sys.stdlib_module_names}
    if not packages:
        return TRUST
    whose = " or ".join(sorted(packages)[:3])
    return f"Is it a model of {whose}? A framework has adapters of its own: adaptrt adapters. {TRUST}"
