"""Changes to torch that are active during export; each is first compared in eager mode, with and without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

Result = TypeVar("Result")

# adaptive pools with a None among their sizes read the input's size, which the exporters freeze or refuse
_POOLS = {
    "adaptive_avg_pool2d": (2, torch.mean),
    "adaptive_avg_pool3d": (3, torch.mean),
    "adaptive_max_pool2d": (2, torch.amax),
    "adaptive_max_pool3d": (3, torch.amax),
}
_ATTENTION = {functional.scaled_dot_product_attention, functional.multi_head_attention_forward}


@contextmanager
def export_context() -> Iterator[None]:
    """Attention without the fused fast path of ``nn.MultiheadAttention`` and ``nn.TransformerEncoder``, which has no ONNX
    form; adaptive pools to ``1`` or ``None`` along each axis as a mean or maximum."""
    fast = torch.backends.mha.get_fastpath_enabled()
    originals = {name: getattr(functional, name) for name in _POOLS}
    torch.backends.mha.set_fastpath_enabled(False)
    for name, (axes, reduce) in _POOLS.items():
        setattr(functional, name, _pool(originals[name], axes, reduce))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(functional, name, original)
        torch.backends.mha.set_fastpath_enabled(fast)


@contextmanager
def as_exported() -> Iterator[None]:
    """The same for a run in eager mode, with attention by the plain operators that the graph will hold."""
    with export_context(), sdpa_kernel(SDPBackend.MATH):
        yield


def run_watched(run: Callable[[], Result]) -> tuple[Result, bool]:
    """What ``run`` returns, and whether it calls anything that exporting changes; if not, watching does not change the result.

    If it does, torch has taken no fast path.
    """
    with _Calls() as watch:
        result = run()
    return result, watch.found


class _Calls(TorchFunctionMode):
    """While active, torch takes no fast path, and calls the function in ``_ATTENTION`` instead."""

    found = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").lstrip("_")
        if func in _ATTENTION or (name in _POOLS and len(args) > 1 and _reduced(args[1], _POOLS[name][0])):
            self.found = True
        return func(*args, **kwargs)


def _pool(original: Any, axes: int, reduce: Any) -> Any:
    def pool(input: torch.Tensor, output_size: Any, return_indices: bool = False) -> Any:  # noqa: A002
        reduced = _reduced(output_size, axes)
        if not reduced or return_indices:
            return original(input, output_size, *([True] if return_indices else []))
        return reduce(input, dim=[axis - axes for axis in reduced], keepdim=True)

    return pool


def _reduced(sizes: Any, axes: int) -> list[int]:
    """The axes that become 1, where every other keeps its size (``None``); empty where a pool is needed, or exports well."""
    asked = list(sizes) if isinstance(sizes, (tuple, list)) else [sizes] * axes
    if len(asked) != axes or None not in asked or not all(size is None or size == 1 for size in asked):
        return []
    return [axis for axis, size in enumerate(asked) if size == 1]
