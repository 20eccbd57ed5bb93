"""``read_checkpoint``: any file of ``torch.save``, as data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.checkpoint.kinds import DOWNLOAD_AGAIN, check_kind
from adaptrt.errors import AdaptrtError, CheckpointError
from adaptrt.quantities import listed

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from adaptrt.checkpoint.machine import Machine

TRUST = "If you trust the author of this file, let its framework load it: --trust-checkpoint"


def read_checkpoint(path: str | os.PathLike[str], *, inert: Sequence[str] = (), trust: bool = False) -> Any:
    """The object passed to ``torch.save``, read without executing the pickle.

    Tensors (on the CPU, no gradient, sharing storage as saved), plain containers, numpy arrays, paths and dates are
    restored. Names that ``inert`` covers, exactly or as a dotted prefix (``"models"``), become
    ``InertName`` and ``InertObject``. Anything else is a ``CheckpointError`` that lists every name that the file requires, as
    is every kind of damaged or unknown file.

    With ``trust`` (``--trust-checkpoint``), ``torch.load`` reads the file, which runs any code in it.
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
        # A malformed pickle can make any line of the machine fail; the file is at fault, not the code.
        _refuse(path, machines)
        reason = str(error).partition("\n")[0][:300] or type(error).__name__
        raise CheckpointError(f"{path} is damaged: {reason}.", hint=DOWNLOAD_AGAIN) from error
    _refuse(path, machines)
    return result


def _unpickled(path: Path) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # the file's own code can raise anything
        check_kind(path)  # more specific, if it is not a checkpoint
        raise CheckpointError(
            f"torch cannot read {path}: {type(error).__name__}: {error}",
            hint="Its classes must be importable under the names they had when it was saved.",
        ) from error


def _refuse(path: Path, machines: Sequence[Machine]) -> None:
    names = [name for machine in machines for name in machine.refused]
    if names:
        raise CheckpointError(
            f"{path} imports names that plain weights do not require: {listed(names, 20)}.", hint=_hint(names)
        )


def _hint(names: Sequence[str]) -> str:
    """The wrong adapter is a more likely reason than an unusual checkpoint, and requires no trust."""
    packages = {name.partition(".")[0] for name in names} - {"torch", "numpy", *sys.stdlib_module_names}
    if not packages:
        return TRUST
    whose = " or ".join(sorted(packages)[:3])
    return f"If it is a model of {whose}, use the adapter of that framework (to list all: adaptrt adapters). {TRUST}"
