"""Inputs in pageable memory, on the way to the device."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptrt.backends.tensorrt.runtime.cuda import Cuda
from adaptrt.backends.tensorrt.runtime.memory import PinnedBlock
from adaptrt.worker_threads import Spread

# bytes from which several threads copy: 3 MB take as long with two threads (benchmarks/inference/transports.py)
_SEVERAL = 8 << 20
_PART = 2 << 20
_GROUP = 32 << 20  # bytes that cross the bus while the next ones are copied


def send_array(cuda: Cuda, array: NDArray[Any], block: PinnedBlock, target: int, stream: int) -> None:
    """Copy an array to page-locked memory, a ``block`` of its size, and from there, in the order of ``stream``, to ``target`` on the device."""
    if not array.nbytes:
        return
    copy = block.array(array.shape, array.dtype)
    if array.nbytes < _SEVERAL:
        np.copyto(copy, array)
        cuda.copy(target, block.pointer, array.nbytes, cuda.to_device, stream)
        return
    if array.flags.c_contiguous:
        array, copy = array.reshape(-1), copy.reshape(-1)
    item = array.nbytes // len(array)
    part, group = max(_PART // item, 1), max(_GROUP // item, 1)
    for start in range(0, len(array), group):
        stop = min(start + group, len(array))
        ends = [*range(start, stop, part), stop]
        Spread([partial(np.copyto, copy[a:b], array[a:b]) for a, b in pairwise(ends)]).finished()
        size = (stop - start) * item
        cuda.copy(target + start * item, block.pointer + start * item, size, cuda.to_device, stream)
