"""Errors of torch.export about values that it does not know, and whether the model catches them.

A model that catches such an error goes on as if its value were another one, which it is not in eager mode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch._subclasses import fake_tensor
from torch.fx.experimental import symbolic_shapes

Caught = Callable[[str, int], None]

# private to torch: without one, an error that is caught goes unnoticed
_ERRORS = (
    (symbolic_shapes, "GuardOnDataDependentSymNode"),
    (fake_tensor, "DataDependentOutputException"),
    (fake_tensor, "DynamicOutputShapeException"),
)


@contextmanager
def noting_caught_errors(is_models_own: Callable[[str], bool], caught: Caught) -> Iterator[None]:
    """Calls ``caught`` with the line of each such error that a frame of the model caught, at the end."""
    raised: list[BaseException] = []
    kinds = [getattr(module, name) for module, name in _ERRORS if hasattr(module, name)]
    originals = [(kind, vars(kind).get("__init__")) for kind in kinds]
    for kind in kinds:
        kind.__init__ = _collecting(kind.__init__, raised)
    try:
        yield
    finally:
        for kind, original in originals:
            if original is None:
                del kind.__init__
            else:
                kind.__init__ = original
        for error in raised:
            trace = error.__traceback__  # its first frame is the one that caught the error
            if trace is not None and is_models_own(trace.tb_frame.f_code.co_filename):
                caught(trace.tb_frame.f_code.co_filename, trace.tb_lineno)


def _collecting(original: Any, raised: list[BaseException]) -> Any:
    def collect(self: BaseException, *args: Any, **kwargs: Any) -> None:
        raised.append(self)
        original(self, *args, **kwargs)

    return collect
