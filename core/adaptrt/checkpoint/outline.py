"""The structure of a checkpoint without its tensors, and without torch: containers, names, and shapes."""

from __future__ import annotations

import io
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from adaptrt.checkpoint.inert import InertName, InertObject
from adaptrt.checkpoint.kinds import DOWNLOAD_AGAIN, cut_off, program_kind, zip_kind
from adaptrt.checkpoint.legacy_header import BUFFER, MAGIC, PROTOCOL
from adaptrt.checkpoint.machine import RENAMED, Constructor, Machine, PickleError, checked_key
from adaptrt.checkpoint.opcodes import next_object
from adaptrt.errors import AdaptrtError, CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

MAX_PICKLE = 1 << 26  # bytes of the pickle that are read; tensors are stored apart
MAX_NAMES = 10_000


@dataclass(frozen=True, slots=True)
class TensorShape:
    """A tensor in a checkpoint that was read for its structure."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Outline:
    """``content`` is what was passed to ``torch.save``, with stand-ins for objects and tensors; ``classes`` the dotted names in it.

    ``program``: the kind of an archive that contains a program instead; it has no outline.
    """

    content: Any = None
    classes: frozenset[str] = frozenset()
    program: Literal["torchscript", "program"] | None = None


def outline_of(path: Path, kind: str) -> Outline:
    """The outline of a file of ``torch.save`` of this kind (``zip`` or ``legacy``); a ``CheckpointError`` if it is damaged."""
    try:
        return (_zip if kind == "zip" else _legacy)(path)
    except AdaptrtError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # a malformed pickle can make any line of the machine fail
        reason = str(error).partition("\n")[0][:300] or type(error).__name__
        raise CheckpointError(f"{path} is damaged: {reason}.", hint=DOWNLOAD_AGAIN) from error


def _zip(path: Path) -> Outline:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError) as error:
        raise cut_off(path) from error
    with archive:
        names = archive.namelist()
        program = program_kind(names)
        if program is not None:
            return Outline(program=program)
        info = archive.getinfo(zip_kind(path, names) + "data.pkl")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise PickleError("it was compressed after torch wrote it; extract it and zip it without compression")
        if info.file_size > MAX_PICKLE:
            raise PickleError(f"its pickle has {info.file_size} bytes")
        machine = _Outliner(io.BytesIO(archive.read(info)), info.file_size)
        return Outline(next_object(machine), frozenset(machine.names))


def _legacy(path: Path) -> Outline:
    with path.open("rb", buffering=BUFFER) as file:
        machine = _Outliner(file, path.stat().st_size)
        if next_object(machine) != MAGIC or next_object(machine) != PROTOCOL:
            raise CheckpointError(
                f"{path} is a pickle, but not one that torch.save wrote.",
                hint="Load it with the tool that wrote it and save its state dict with torch.save.",
            )
        next_object(machine)  # the system it was written on
        return Outline(next_object(machine), frozenset(machine.names))


class _Outliner(Machine):
    """Every name becomes a stand-in, except for tensors and dicts."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        super().__init__(stream, size, _KNOWN, persistent=_storage)
        self.names: set[str] = set()

    def resolve(self, module: str, name: str) -> Any:
        module = RENAMED.get(module, module)
        path = f"{module}.{name}"
        if path in self.known:
            return self.known[path]
        if len(self.names) < MAX_NAMES:
            self.names.add(path)
        return InertName(module, name)

    def build(self, target: Any, state: Any) -> None:
        if not isinstance(target, TensorShape):  # attributes of a tensor
            super().build(target, state)


def _storage(identity: Any) -> Any:
    """Nothing for a storage; a class that was saved with its source text is that class (``torch.save`` before 1.6)."""
    return identity[1] if isinstance(identity, tuple) and len(identity) == 4 and identity[0] == "module" else None


def _tensor(_data: Any, _offset: Any, size: Any, *_: Any) -> TensorShape:
    if isinstance(size, InertObject):  # torch.Size
        size = size.args[0] if size.args else ()
    if not isinstance(size, tuple) or not all(type(extent) is int for extent in size):
        raise PickleError("a tensor has an invalid shape")
    return TensorShape(size)


def _same(data: Any, *_: Any) -> Any:
    return data


def _from_type(_function: Any, _kind: Any, args: Any, _state: Any = None) -> Any:
    return _tensor(*args) if isinstance(args, tuple) and len(args) >= 3 else None


def _dict(values: Any = ()) -> OrderedDict[Any, Any]:
    if values == ():  # the hooks of each module and parameter
        return OrderedDict()
    pairs = list(values.items()) if isinstance(values, dict) else values
    if not isinstance(pairs, (list, tuple)) or not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):  # fmt: skip
        raise PickleError("a dict is not created from pairs")
    return OrderedDict((checked_key(key), value) for key, value in pairs)


_CALLS: Mapping[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor,
    "torch._utils._rebuild_parameter": _same,
    "torch._utils._rebuild_parameter_with_state": _same,
    "torch.nn.parameter.Parameter": _same,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "collections.OrderedDict": _dict,
}
_KNOWN = {path: Constructor(path, call) for path, call in _CALLS.items()}
