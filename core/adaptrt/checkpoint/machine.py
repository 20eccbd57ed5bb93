"""A pickle machine that imports nothing and calls only the constructors it was given.

The standard ``pickle.Unpickler`` can restrict which names are imported, but not what ``BUILD`` may set on them, nor how
much memory a memo index or a copied list may take. This one is a plain stack machine for the opcodes of protocols 0
to 5 (documented in ``pickletools``), with every amount bounded by the length of the file.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from adaptrt.checkpoint.inert import InertName, InertObject

if TYPE_CHECKING:
    import struct
    from collections.abc import Callable, Mapping, Sequence

RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # Python 2 names, which protocols below 3 still use
# hashes of integers repeat from here on (the modulus of Python's hash), and a dict of equal hashes takes quadratic time
MAX_KEY_INTEGER = (1 << 61) - 2
MAX_KEY_TUPLE = 16
MAX_ITEM = 1 << 28  # bytes of one text or number in a pickle; tensors are stored apart
MAX_LINE = 1 << 20  # bytes of a text opcode of protocol 0
_SMALL = 1 << 12  # bytes that are read without asking how many are left
_COPIED = (str, bytes, bytearray, list, tuple, dict, set)


class PickleError(ValueError):
    """The pickle is malformed, or does something that no checkpoint does."""


@dataclass(frozen=True, slots=True)
class Constructor:
    """What is called where a pickle names ``path``."""

    path: str
    call: Callable[..., Any]


class Machine:
    """Reads pickles out of ``stream``, a file of ``size`` bytes, one after another.

    ``known``: dotted name to the ``Constructor`` or plain value in its place. ``inert``: dotted names and prefixes that
    become stand-ins. ``setters``: type to the function that sets its state. ``persistent``: maps a persistent id
    to the object (a storage). Names beyond these are collected in ``refused`` while reading goes on with stand-ins,
    so that one error can list them all.
    """

    def __init__(
        self,
        stream: BinaryIO,
        size: int,
        known: Mapping[str, Any],
        *,
        inert: Sequence[str] = (),
        setters: Mapping[type, Callable[[Any, Any], None]] | None = None,
        persistent: Callable[[Any], Any] | None = None,
    ) -> None:
        self.stream = stream
        self.size = size
        self.read = stream.read  # the next bytes; fewer at the end of the file
        self.known = known
        self.inert = tuple(inert)
        self.setters = setters or {}
        self.persistent = persistent
        self.refused: dict[str, None] = {}
        self.stand_in = InertObject(InertName("adaptrt", "refused"))
        self.copied = 0
        self.copy_limit = 16 * min(size, MAX_ITEM) + 65536
        self.reset()

    def reset(self) -> None:
        """Start of a pickle: nothing on the stack, nothing remembered."""
        self.stack: list[Any] = []  # of the innermost group
        self.groups: list[list[Any]] = []  # the stacks around it
        self.memo: dict[int, Any] = {}

    # bytes

    def take(self, count: int) -> bytes:
        if not 0 <= count <= _SMALL:
            if not 0 <= count <= self.size - self.stream.tell():
                raise PickleError("the pickle is truncated")  # not read: a buffered file allocates first
            if count > MAX_ITEM:
                raise PickleError(f"one item of the pickle has {count} bytes")
        taken = self.read(count)
        if len(taken) < count:
            raise PickleError("the pickle is truncated")
        return taken

    def line(self) -> bytes:
        line = self.stream.readline(MAX_LINE)
        if not line.endswith(b"\n"):
            raise PickleError("a line of the pickle is too long, or the pickle is truncated")
        return line[:-1]

    def unpack(self, layout: struct.Struct) -> Any:
        return layout.unpack(self.take(layout.size))[0]

    # stack

    def pop_group(self) -> list[Any]:
        if not self.groups:
            raise PickleError("a group was not opened")
        group, self.stack = self.stack, self.groups.pop()
        return group

    # names, calls, state

    def resolve(self, module: str, name: str) -> Any:
        module = RENAMED.get(module, module)
        path = f"{module}.{name}"
        if path in self.known:
            return self.known[path]
        if not any(path == prefix or path.startswith(prefix + ".") for prefix in self.inert):
            self.refused[path] = None
        return InertName(module, name)

    def call(self, function: Any, args: Any, kwargs: Any = None) -> Any:
        if not isinstance(args, tuple) or not (kwargs is None or isinstance(kwargs, dict)):
            raise PickleError("arguments are not a tuple")
        if isinstance(function, Constructor):
            if self.refused:
                return self.stand_in
            if not kwargs:
                # Constructors copy, and repeating a memoized argument takes only two bytes in the file.
                for arg in args:
                    if isinstance(arg, _COPIED):
                        self.copied += len(arg)
                if self.copied > self.copy_limit:
                    raise PickleError("the same data is copied too many times")
                return function.call(*args)
        elif isinstance(function, (InertName, InertObject)):
            return InertObject(function, args, kwargs or {})
        raise PickleError(f"{type(function).__name__} is called")

    def load_persistent(self, identity: Any) -> Any:
        if self.refused:
            return self.stand_in  # the file is already rejected: read no more of it
        if self.persistent is None:
            raise PickleError("a persistent id outside a checkpoint")
        return self.persistent(identity)

    def build(self, target: Any, state: Any) -> None:
        if isinstance(target, InertObject):
            target.state = state
        elif isinstance(target, OrderedDict):
            # Module.state_dict() carries the versions of its modules as an attribute.
            if isinstance(state, dict) and isinstance(state.get("_metadata"), dict):
                cast("Any", target)._metadata = state["_metadata"]
        elif type(target) in self.setters:
            self.setters[type(target)](target, state)
        else:
            raise PickleError(f"state is set on {type(target).__name__}")

    def append(self, target: Any, values: list[Any]) -> None:
        if isinstance(target, InertObject):
            target.items.extend(values)
        elif type(target) is list:
            target.extend(values)
        else:
            raise PickleError(f"items are appended to {type(target).__name__}")

    def set_items(self, target: Any, values: list[Any]) -> None:
        if len(values) % 2:
            raise PickleError("a key has no value")
        if isinstance(target, InertObject):
            target = target.entries
        elif type(target) not in (dict, OrderedDict, defaultdict, Counter):
            raise PickleError(f"keys are set on {type(target).__name__}")
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[key if type(key) is str else checked_key(key)] = value


def checked_key(key: Any) -> Any:
    """The key itself, if hashing it is safe and quick: a scalar, or a flat tuple of a few (hashing recurses in C)."""
    if isinstance(key, tuple):
        if len(key) > MAX_KEY_TUPLE or any(isinstance(part, tuple) for part in key):
            raise PickleError("a key is nested too deeply")
        for part in key:
            checked_key(part)
    elif (
        type(key).__hash__ is None or isinstance(key, complex) or (isinstance(key, int) and abs(key) > MAX_KEY_INTEGER)
    ):
        raise PickleError(f"{type(key).__name__} is used as a key")
    return key
