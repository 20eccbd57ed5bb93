"""CUDA calls that return at once, made without giving up the interpreter lock.

``cuda-python`` releases the lock for every call, and other threads may take it. Eight threads that keep it make 1.2 to 1.3 times as many calls with images
(``benchmarks/inference/thread_ways.py``).
"""

from __future__ import annotations

import ctypes
import enum
from typing import Any

from adaptrt.backends.tensorrt.device import import_driver

_VERSION = 11040  # the version of CUDA whose functions have these parameters
_ADDRESS, _SIZE, _NUMBER = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint
_MEMORY_TYPE, _IS_MANAGED = 2, 8  # CU_POINTER_ATTRIBUTE_...
NOT_READY = 600


class MemoryType(enum.IntEnum):
    """Of an address, as the driver tells it."""

    UNKNOWN = 0
    HOST = 1
    DEVICE = 2


class ShortCalls:
    """Functions of the CUDA driver, which return its error code: 0 is success.

    They do not wait for the GPU, unless a stream is full: only our own streams take them. ``Cuda`` repeats a call that fails through the
    runtime, which describes the error, and makes the context of the only device current in a thread that has none yet.

    - ``copy(target, source, bytes, stream)``: host memory has to be page-locked
    - ``record(event, stream)``, ``wait(stream, event, 0)``, ``query(event)``
    - ``launch(graph, stream)``
    """

    def __init__(self, driver: Any) -> None:
        def function(name: str, *parameters: Any) -> Any:
            error, address, *_ = driver.cuGetProcAddress(name.encode(), _VERSION, 0)
            if int(error) != 0 or not int(address):
                raise LookupError(name)
            return ctypes.PYFUNCTYPE(ctypes.c_int, *parameters)(int(address))

        self.copy = function("cuMemcpyAsync", _ADDRESS, _ADDRESS, _SIZE, _ADDRESS)
        self.record = function("cuEventRecord", _ADDRESS, _ADDRESS)
        self.wait = function("cuStreamWaitEvent", _ADDRESS, _ADDRESS, _NUMBER)
        self.query = function("cuEventQuery", _ADDRESS)
        self.launch = function("cuGraphLaunch", _ADDRESS, _ADDRESS)
        self._attribute = function("cuPointerGetAttribute", _ADDRESS, _NUMBER, _ADDRESS)

    def memory_type(self, address: int) -> int:
        return self._value(_MEMORY_TYPE, address)

    def is_page_locked(self, address: int) -> bool:
        """Whether this is host memory that CUDA allocated or registered. Managed memory is not, whichever type the driver tells."""
        return self.memory_type(address) == MemoryType.HOST and not self._value(_IS_MANAGED, address)

    def _value(self, attribute: int, address: int) -> int:
        found = _NUMBER()
        return 0 if self._attribute(ctypes.addressof(found), attribute, address) else found.value


def short_calls() -> ShortCalls | None:
    """``None`` if cuda-python does not give the addresses of the driver's functions."""
    try:
        return ShortCalls(import_driver())
    except (AttributeError, LookupError, RuntimeError):  # the last if the driver has no such function
        return None
