"""The effect of each pickle opcode on the machine, including the text opcodes of protocol 0, which old files use.

A network's pickle has tens of thousands of opcodes; the frequent ones read their operand in one call.
"""

from __future__ import annotations

import codecs
import pickle
import struct
from collections.abc import Callable
from typing import Any

from adaptrt.checkpoint.machine import Machine, PickleError, checked_key

UINT1, UINT2, UINT4, UINT8 = (struct.Struct(layout) for layout in ("<B", "<H", "<I", "<Q"))
INT4, FLOAT8 = struct.Struct("<i"), struct.Struct(">d")
MAX_PROTOCOL = 5
MAX_DIGITS = 4300  # of an integer written as text, which takes quadratic time to parse; Python's own limit

Operation = Callable[[Machine], None]


def _number(line: bytes) -> Any:
    if line in (b"00", b"01"):  # booleans in protocol 0
        return line == b"01"
    if len(line) > MAX_DIGITS:
        raise PickleError("a number is too long")
    return int(line.rstrip(b"L"))


def _python2_string(raw: bytes) -> str | bytes:
    """Python 2's strings were both text and bytes; what decodes is text."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw


def _quoted(line: bytes) -> str | bytes:
    line = line.strip()
    if len(line) < 2 or line[0] != line[-1] or line[:1] not in (b"'", b'"'):
        raise PickleError("a string is not quoted")
    return _python2_string(codecs.escape_decode(line[1:-1])[0])


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")


def _push(read: Callable[[Machine], Any]) -> Operation:
    return lambda machine: machine.stack.append(read(machine))


def _constant(value: Any) -> Operation:
    return lambda machine: machine.stack.append(value)


def _uint1(machine: Machine) -> int:
    return machine.read(1)[0]


def _binunicode(machine: Machine) -> None:
    machine.stack.append(_text(machine.take(UINT4.unpack(machine.read(4))[0])))


def _binint1(machine: Machine) -> None:
    machine.stack.append(machine.read(1)[0])


def _binget(machine: Machine) -> None:
    machine.stack.append(machine.memo[machine.read(1)[0]])


def _long_binput(machine: Machine) -> None:
    machine.memo[UINT4.unpack(machine.read(4))[0]] = machine.stack[-1]


def _mark(machine: Machine) -> None:
    machine.groups.append(machine.stack)
    machine.stack = []


def _group(convert: Callable[[list[Any]], Any]) -> Operation:
    """Replace the innermost group by one value. ``pop_group`` comes first: it changes which stack is the current one."""

    def operation(machine: Machine) -> None:
        group = machine.pop_group()
        machine.stack.append(convert(group))

    return operation


def _tuple1(machine: Machine) -> None:
    machine.stack[-1] = (machine.stack[-1],)


def _sized(layout: struct.Struct, convert: Callable[[bytes], Any]) -> Operation:
    return lambda machine: machine.stack.append(convert(machine.take(machine.unpack(layout))))


def _signed(raw: bytes) -> int:
    return int.from_bytes(raw, "little", signed=True)


def _proto(machine: Machine) -> None:
    version = machine.take(1)[0]
    if version > MAX_PROTOCOL:
        raise PickleError(f"pickle protocol {version} is newer than any known")


def _tuple_of(count: int) -> Operation:
    def operation(machine: Machine) -> None:
        values = machine.stack[-count:]
        if len(values) < count:
            raise IndexError
        machine.stack[-count:] = [tuple(values)]

    return operation


def _dict(machine: Machine) -> None:
    values = machine.pop_group()
    machine.stack.append({})
    machine.set_items(machine.stack[-1], values)


def _pop(machine: Machine) -> None:
    if machine.stack:
        machine.stack.pop()
    else:  # the mark is what is on top
        machine.pop_group()


def _pop_mark(machine: Machine) -> None:
    machine.pop_group()


def _append(machine: Machine) -> None:
    value = machine.stack.pop()
    machine.append(machine.stack[-1], [value])


def _appends(machine: Machine) -> None:
    values = machine.pop_group()
    machine.append(machine.stack[-1], values)


def _setitem(machine: Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.set_items(machine.stack[-1], [key, value])


def _setitems(machine: Machine) -> None:
    values = machine.pop_group()
    machine.set_items(machine.stack[-1], values)


def _additems(machine: Machine) -> None:
    values = machine.pop_group()
    target = machine.stack[-1]
    if type(target) is not set:
        raise PickleError(f"items are added to {type(target).__name__}")
    target.update(checked_key(value) for value in values)


def _put(read: Callable[[Machine], Any]) -> Operation:
    def operation(machine: Machine) -> None:
        machine.memo[read(machine)] = machine.stack[-1]

    return operation


def _get(read: Callable[[Machine], Any]) -> Operation:
    return lambda machine: machine.stack.append(machine.memo[read(machine)])


def _memoize(machine: Machine) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


def _global(machine: Machine) -> None:
    module, name = _text(machine.line()), _text(machine.line())
    machine.stack.append(machine.resolve(module, name))


def _stack_global(machine: Machine) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise PickleError("a name is not text")
    machine.stack.append(machine.resolve(module, name))


def _reduce(machine: Machine) -> None:
    args, function = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(machine.call(function, args))


def _newobj_ex(machine: Machine) -> None:
    kwargs, args, function = machine.stack.pop(), machine.stack.pop(), machine.stack.pop()
    machine.stack.append(machine.call(function, args, kwargs))


def _inst(machine: Machine) -> None:
    function = machine.resolve(_text(machine.line()), _text(machine.line()))
    group = machine.pop_group()
    machine.stack.append(machine.call(function, tuple(group)))


def _obj(machine: Machine) -> None:
    function, *args = machine.pop_group()
    machine.stack.append(machine.call(function, tuple(args)))


def _build(machine: Machine) -> None:
    state = machine.stack.pop()
    machine.build(machine.stack[-1], state)


def _persistent(read: Callable[[Machine], Any]) -> Operation:
    return lambda machine: machine.stack.append(machine.load_persistent(read(machine)))


_BY_NAME: dict[str, Operation] = {
    "PROTO": _proto,
    "FRAME": lambda machine: machine.unpack(UINT8),
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    "INT": _push(lambda machine: _number(machine.line())),
    "LONG": _push(lambda machine: _number(machine.line())),
    "BININT": _push(lambda machine: machine.unpack(INT4)),
    "BININT1": _binint1,
    "BININT2": _push(lambda machine: machine.unpack(UINT2)),
    "LONG1": _sized(UINT1, _signed),
    "LONG4": _sized(UINT4, _signed),
    "FLOAT": _push(lambda machine: float(machine.line())),
    "BINFLOAT": _push(lambda machine: machine.unpack(FLOAT8)),
    "STRING": _push(lambda machine: _quoted(machine.line())),
    "BINSTRING": _sized(UINT4, _python2_string),
    "SHORT_BINSTRING": _sized(UINT1, _python2_string),
    "UNICODE": _push(lambda machine: machine.line().decode("raw-unicode-escape")),
    "BINUNICODE": _binunicode,
    "SHORT_BINUNICODE": _sized(UINT1, _text),
    "BINUNICODE8": _sized(UINT8, _text),
    "BINBYTES": _sized(UINT4, bytes),
    "SHORT_BINBYTES": _sized(UINT1, bytes),
    "BINBYTES8": _sized(UINT8, bytes),
    "BYTEARRAY8": _sized(UINT8, bytearray),
    "EMPTY_TUPLE": _constant(()),
    "TUPLE1": _tuple1,
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "TUPLE": _group(tuple),
    "EMPTY_LIST": _push(lambda _: []),
    "LIST": _group(lambda group: group),
    "EMPTY_DICT": _push(lambda _: {}),
    "DICT": _dict,
    "EMPTY_SET": _push(lambda _: set()),
    "FROZENSET": _group(lambda group: frozenset(checked_key(item) for item in group)),
    "MARK": _mark,
    "POP": _pop,
    "POP_MARK": _pop_mark,
    "DUP": _push(lambda machine: machine.stack[-1]),
    "APPEND": _append,
    "APPENDS": _appends,
    "SETITEM": _setitem,
    "SETITEMS": _setitems,
    "ADDITEMS": _additems,
    "PUT": _put(lambda machine: _number(machine.line())),
    "BINPUT": _put(_uint1),
    "LONG_BINPUT": _long_binput,
    "MEMOIZE": _memoize,
    "GET": _get(lambda machine: _number(machine.line())),
    "BINGET": _binget,
    "LONG_BINGET": _get(lambda machine: machine.unpack(UINT4)),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "NEWOBJ": _reduce,
    "NEWOBJ_EX": _newobj_ex,
    "INST": _inst,
    "OBJ": _obj,
    "BUILD": _build,
    "PERSID": _persistent(lambda machine: _text(machine.line())),
    "BINPERSID": _persistent(lambda machine: machine.stack.pop()),
}


def _unknown(code: int) -> Operation:
    def operation(_machine: Machine) -> None:
        raise PickleError(f"opcode {code:#04x} does not occur in checkpoints")

    return operation


def _end_of_file(_machine: Machine) -> None:
    raise PickleError("the pickle is truncated")


OPERATIONS: dict[bytes, Operation] = {
    b"": _end_of_file,
    **{bytes([code]): _unknown(code) for code in range(256)},
    **{getattr(pickle, name): operation for name, operation in _BY_NAME.items()},
}


def next_object(machine: Machine) -> Any:
    """Run the machine to the end of one pickle. Any exception means a malformed pickle."""
    machine.reset()
    read = machine.read
    try:
        while (code := read(1)) != pickle.STOP:
            OPERATIONS[code](machine)
        result = machine.stack.pop()
    except (IndexError, struct.error) as error:
        raise PickleError("the pickle is truncated, or takes more from its stack than it put there") from error
    if machine.stack or machine.groups:
        raise PickleError("the stack is invalid at the end of the pickle")
    return result
