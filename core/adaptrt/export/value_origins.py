"""What a value of a trace is computed from: the values of the model's inputs, or only sizes, weights and constants."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

_NONE: frozenset[int] = frozenset()
_COUNT = frozenset({0})  # marks numbers and lists computed from a size that varies
_EVERY = frozenset(range(64))  # the axes of a tensor of unknown rank

# operators whose first axis is as long as the values decide; an index by a mask is another
_OF_ANY_SIZE = frozenset(
    {
        "aten::nonzero",
        "aten::nonzero_numpy",
        "aten::argwhere",
        "aten::masked_select",
        "aten::bincount",
        "aten::_unique",
        "aten::_unique2",
        "aten::unique_dim",
        "aten::unique_consecutive",
        "aten::unique_dim_consecutive",
        "torchvision::nms",
    }
)
# the values of a tensor of counts decide sizes
_SIZED_BY_COUNTS = frozenset({"repeat_interleave", "tensor_split"})
_NUMBERS = frozenset({"IntType", "NumberType", "SymIntType"})  # kinds of types
# without the underscores of in-place operators and of Python's operators
_ELEMENTWISE = frozenset({
    "add", "sub", "rsub", "mul", "div", "true_divide", "floor_divide", "remainder", "fmod", "pow", "atan2",
    "maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge", "and", "or", "xor", "logical_and", "logical_or",
    "logical_xor", "logical_not", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "where",
    "masked_fill", "clamp", "clamp_min", "clamp_max", "abs", "neg", "exp", "log", "sqrt", "rsqrt", "square",
    "reciprocal", "floor", "ceil", "round", "sin", "cos", "tanh", "sigmoid", "relu", "gelu", "silu", "hardswish",
    "hardsigmoid", "leaky_relu", "elu", "erf",
})  # fmt: skip
_AS_FIRST = frozenset({
    "to", "type_as", "clone", "detach", "contiguous", "alias", "dropout", "softmax", "log_softmax", "layer_norm",
    "batch_norm", "index_put", "index_fill", "index_add", "index_copy", "masked_scatter", "scatter",
    "scatter_add", "copy", "fill", "zero", "zeros_like", "ones_like", "full_like", "empty_like", "rand_like",
    "randn_like", "cumsum", "roll",
})  # fmt: skip
_REDUCTIONS = frozenset({"sum", "mean", "prod", "amax", "amin", "max", "min", "argmax", "argmin", "any", "all", "logsumexp"})  # fmt: skip
_RESHAPES = frozenset({"view", "reshape", "expand"})
_MOVES = frozenset({"t", "transpose", "permute", "unsqueeze"})
_DIVISIONS = frozenset({"unbind", "chunk", "split", "split_with_sizes", "tensor_split"})  # into a list
_LISTS = _DIVISIONS | {"meshgrid"}
_PRODUCTS = frozenset({"linear", "convolution", "matmul", "mm", "bmm"})


@dataclass(frozen=True)
class Origin:
    """``data``: it depends on the values of inputs; ``axes``: of the sizes that it was computed from; ``varying``: the
    axes of a tensor whose sizes the values of inputs decide."""

    data: bool = False
    axes: frozenset[int] = _NONE
    varying: frozenset[int] = _NONE


class Origins:
    """The origins of the values of one trace with this many inputs, each found once: a trace only grows.

    Keyed by number: the tracer gives a value's name to another one when a variable is assigned again.
    """

    def __init__(self, inputs: int) -> None:
        self._inputs = inputs
        self._state: Any = None
        self._known: dict[int, Origin] = {}

    def of(self, tensor: torch.Tensor) -> Origin:
        """The origin of a tensor in the trace that is being recorded."""
        state = torch._C._get_tracing_state()
        if state is not self._state:
            self.forget()
            self._state = state
        try:
            last = torch._C._get_value_trace(tensor)  # type: ignore[attr-defined]
        except RuntimeError:  # not part of the trace: a constant
            return Origin()
        pending = [last]
        while pending:
            value = pending[-1]
            missing = [one for one in value.node().inputs() if one.unique() not in self._known]
            if missing and value.unique() not in self._known:
                pending.extend(missing)
                continue
            pending.pop()
            if value.unique() not in self._known:
                self._known[value.unique()] = self._found(value)
        return self._known[last.unique()]

    def forget(self) -> None:
        """Release the trace."""
        self._state = None
        self._known = {}

    def _found(self, value: Any) -> Origin:
        """The origin of a value whose operands are known."""
        node = value.node()
        if node.kind() == "prim::Param":  # the model's inputs come first, then its weights
            return Origin(data=value.offset() < self._inputs)
        operands = [*node.inputs()]
        if node.kind() == "aten::size":
            return self._of_size(operands)
        origins = [self._known[one.unique()] for one in operands]
        data = any(one.data for one in origins)
        axes = _NONE.union(*(one.axes for one in origins))
        if data and value.type().kind() in _NUMBERS:  # as a size, it is as good as a count
            return Origin(True, axes, _COUNT)
        # where no operand depends on values, no size does
        return Origin(data, axes, self._varying(value, node.kind(), operands) if data else _NONE)

    def _of_size(self, operands: list[Any]) -> Origin:
        varying = self._of(operands[0])
        axis = operands[1].toIValue() if len(operands) > 1 else None
        if axis is None:
            return Origin(bool(varying), frozenset({0}), _COUNT if varying else _NONE)
        axis = int(axis) + (_rank(operands[0]) or 0 if axis < 0 else 0)
        return Origin(True, varying=_COUNT) if axis in varying else Origin(axes=frozenset({axis}))

    def _of(self, value: Any) -> frozenset[int]:
        return self._known[value.unique()].varying

    def _varying(self, value: Any, kind: str, operands: list[Any]) -> frozenset[int]:
        """The axes of a result whose sizes the values of inputs decide; more than those where an operator is unknown."""
        name = kind.removeprefix("aten::")
        in_place = name.endswith("_") and not name.endswith("__")
        name = name.strip("_")
        if kind in _OF_ANY_SIZE or (name == "where" and len(operands) == 1):
            return self._found_by_values(value, name, operands)
        if name == "index":
            return self._indexed(value, operands)
        if name == "full":  # another number is what it is filled with
            operands = operands[:1]
        if name == "one_hot" and operands[1].toIValue() == -1:  # as many classes as the largest value says
            return self._of(operands[0]) | {(_rank(value) or 0) - 1}
        if name in _SIZED_BY_COUNTS:  # the second operand, which is the only one where its positions are repeated
            counts = operands[0 if name == "repeat_interleave" and len(operands) == 2 else 1]
            if self._known[counts.unique()].data:
                return _all_axes(value)
        if not any(self._of(one) for one in operands):
            return _NONE
        if _rank(value) == 0:  # of tensors that have axes, the values are left, not the sizes
            return _COUNT if any(self._of(one) for one in operands if not _rank(one)) else _NONE
        if name in _AS_FIRST or (in_place and name in _ELEMENTWISE):
            return self._of(operands[0])
        known = _rank(value) is not None and _rank(operands[0]) is not None
        two = name in ("max", "min") and len(operands) == 2 and _rank(operands[1]) is not None
        if known and (name in _ELEMENTWISE or two):
            return self._broadcast(value, operands)
        if known and name in _REDUCTIONS:
            return self._reduced(value, operands)
        if known and name in _RESHAPES:
            return self._reshaped(value, operands)
        if known and name in ("slice", "select"):
            return self._sliced(value, operands)
        if known and name in _MOVES:
            return self._moved(value, name, operands)
        if name in _DIVISIONS:
            return self._divided(name, operands)
        if name == "meshgrid":
            return self._crossed(operands)
        if kind == "prim::ListUnpack" and operands[0].node().kind().removeprefix("aten::") in _LISTS:
            return self._of(operands[0])
        if known and name in _PRODUCTS:
            return self._product(value, name, operands)
        if name == "cat" and _rank(value) is not None:
            return self._joined(value, operands)
        return _all_axes(value)

    def _found_by_values(self, value: Any, name: str, operands: list[Any]) -> frozenset[int]:
        if name in ("unique", "unique2") and value.offset() == 1:  # the inverse has the shape of the operand
            return self._of(operands[0])
        return _all_axes(value) if name.startswith("unique_dim") else _COUNT

    def _indexed(self, value: Any, operands: list[Any]) -> frozenset[int]:
        """Of an index by one mask or by one tensor of numbers; all axes if there are several that vary."""
        indices = [*operands[1].node().inputs()]
        given = [(axis, one) for axis, one in enumerate(indices) if _rank(one) is not None]
        masks = [one for _, one in given if one.type().scalarType() in ("Bool", "Byte")]
        decided = any(self._known[one.unique()].data for one in masks)
        if not (decided or self._of(operands[0]) or any(self._of(one) for _, one in given)):
            return _NONE
        if len(given) != 1 or _rank(operands[0]) is None:
            return _all_axes(value)
        ((place, index),) = given
        rank = _rank(index) or 0
        replaced, added = (rank, 1) if masks else (1, rank)
        own = (_COUNT if decided else _NONE) if masks else self._of(index)
        kept = {axis if axis < place else axis - replaced + added for axis in self._of(operands[0])
                if not place <= axis < place + replaced}  # fmt: skip
        return frozenset(kept | {place + axis for axis in own})

    def _broadcast(self, value: Any, operands: list[Any]) -> frozenset[int]:
        """An axis is fixed by any operand in which it is, unless its size there is 1."""
        tensors = [(sizes, self._of(one)) for one in operands if (sizes := _sizes(one))]
        result: set[int] = set()
        for back in range(1, (_rank(value) or 0) + 1):
            here = [(sizes[-back], len(sizes) - back in varying) for sizes, varying in tensors if len(sizes) >= back]
            if any(varies for _, varies in here) and not any(size != 1 and not varies for size, varies in here):
                result.add((_rank(value) or 0) - back)
        return frozenset(result)

    def _reduced(self, value: Any, operands: list[Any]) -> frozenset[int]:
        rank = _rank(operands[0]) or 0
        dims = _numbers(operands[1]) if len(operands) > 1 else None
        if dims is None or any(one is None for one in dims):
            return _all_axes(value)
        gone = {one % rank for one in dims if one is not None}
        left = self._of(operands[0]) - gone
        return left if _rank(value) == rank else _without(left, gone)

    def _reshaped(self, value: Any, operands: list[Any]) -> frozenset[int]:
        """Only an axis whose size is -1 is computed, unless a size is itself a count."""
        numbers = _numbers(operands[1])
        if numbers is None or len(numbers) != _rank(value):
            return _all_axes(value)
        counts = [bool(self._of(one)) for one in operands[1].node().inputs()] or [False] * len(numbers)
        return frozenset(at for at, number in enumerate(numbers) if number == -1 or counts[at])

    def _moved(self, value: Any, name: str, operands: list[Any]) -> frozenset[int]:
        """Axes in another order, or with one more."""
        order = [*range(_rank(operands[0]) or 0)]
        dims = _numbers(operands[1]) if name == "permute" else [one.toIValue() for one in operands[1:3]]
        if dims is None or any(dim is None for dim in dims):
            return _all_axes(value)
        places = [int(dim or 0) % (_rank(value) or 1) for dim in dims]
        if name == "unsqueeze":
            order.insert(places[0], -1)
        elif name == "permute":
            order = places
        elif name == "transpose":
            first, second = places
            order[first], order[second] = second, first
        else:
            order.reverse()
        return frozenset(axis for axis, before in enumerate(order) if before in self._of(operands[0]))

    def _product(self, value: Any, name: str, operands: list[Any]) -> frozenset[int]:
        """What is summed over is gone; the sizes of weights are fixed."""
        first, second = operands[:2]
        rank, ranks = _rank(value) or 0, (_rank(first) or 0, _rank(second) or 0)
        one, other = self._of(first), self._of(second)
        if name in ("linear", "convolution"):
            channel = 1 if name == "convolution" else rank - 1
            return one - {channel} if not any(map(self._of, operands[1:])) else _all_axes(value)
        if min(ranks) < 2:
            return _all_axes(value)
        rows = {rank - 2} if ranks[0] - 2 in one else set[int]()
        columns = {rank - 1} if ranks[1] - 1 in other else set[int]()
        batches = {axis for axis in self._broadcast(value, [first, second]) if axis < rank - 2}
        return frozenset(rows | columns | batches)

    def _joined(self, value: Any, operands: list[Any]) -> frozenset[int]:
        """The sizes of the other axes are the same in all tensors, so that one that is fixed fixes it."""
        tensors, dim, rank = [*operands[0].node().inputs()], operands[1].toIValue(), _rank(value) or 0
        if dim is None or not tensors or any(_rank(one) != rank for one in tensors):
            return _all_axes(value)
        varying = [self._of(one) for one in tensors]
        along = {dim % rank} if any(dim % rank in one for one in varying) else set[int]()
        return frozenset.intersection(*varying) - {dim % rank} | along

    def _divided(self, name: str, operands: list[Any]) -> frozenset[int]:
        """Of each part."""
        dim, rank = operands[-1].toIValue(), _rank(operands[0])
        if dim is None or rank is None:
            return _EVERY
        axis = int(dim) % rank
        varying = self._of(operands[0])
        if name == "unbind":
            return _without(varying - {axis}, {axis})
        return varying | {axis} if any(self._of(one) for one in operands[1:-1]) else varying

    def _crossed(self, operands: list[Any]) -> frozenset[int]:
        """Of each grid: an axis for each vector."""
        order = [*operands[0].node().inputs()]
        if len(operands) > 1 and operands[1].toIValue() == "xy":
            order[:2] = order[1::-1]
        return frozenset(axis for axis, one in enumerate(order) if self._of(one))

    def _sliced(self, value: Any, operands: list[Any]) -> frozenset[int]:
        dim = operands[1].toIValue()
        if dim is None:
            return _all_axes(value)
        axis = int(dim) % (_rank(operands[0]) or 1)
        varying = self._of(operands[0])
        if _rank(value) != _rank(operands[0]):
            return _without(varying - {axis}, {axis})
        return varying | {axis} if any(self._of(one) for one in operands[2:]) else varying


def _sizes(value: Any) -> list[int] | None:
    sizes: list[int] | None = value.type().sizes() if value.type().kind() == "TensorType" else None
    return sizes


def _rank(value: Any) -> int | None:
    """``None`` for what is not a tensor, and for tensors of unknown sizes."""
    sizes = _sizes(value)
    return None if sizes is None else len(sizes)


def _all_axes(value: Any) -> frozenset[int]:
    rank = _rank(value)
    if rank is not None:
        return frozenset(range(rank))
    return _EVERY if value.type().kind() == "TensorType" else _COUNT


def _without(axes: Iterable[int], gone: set[int]) -> frozenset[int]:
    """The new numbers of axes once others are dropped."""
    return frozenset(axis - sum(one < axis for one in gone) for axis in axes)


def _numbers(value: Any) -> list[int | None] | None:
    """The numbers of a list, ``None`` for those that are computed."""
    if value.node().kind() == "prim::ListConstruct":
        return [one.toIValue() for one in value.node().inputs()]
    number = value.toIValue()
    return [number] if isinstance(number, int) else number
