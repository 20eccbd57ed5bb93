"""A stub for ``mmcv._ext``, the compiled part of mmcv, which mmcv-lite does not include.

``mmdet.models`` imports all of ``mmcv.ops``, which looks up functions of ``mmcv._ext`` by name. The stub has every name:
ops that torchvision has too are computed by torchvision, calling any other raises an error that names the op.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

from adaptrt import DependencyError

NAME = "mmcv._ext"


class StandIn(ModuleType):
    """A module in which every public name is a function: torchvision's of the same op, else one that raises a ``DependencyError``.

    ``replaced``: the ops that were called and computed by torchvision.
    """

    def __init__(self) -> None:
        super().__init__(NAME, __doc__)
        self.__spec__ = ModuleSpec(NAME, None, origin="adaptrt_mmdet.stand_in")
        self.replaced: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # inspect, pickle and doctest look up these names and must not find them
            raise AttributeError(name)

        def missing(*_: Any, **__: Any) -> NoReturn:
            raise missing_op(name)

        missing.__name__ = missing.__qualname__ = name
        return missing

    def nms(self, boxes: Any, scores: Any, iou_threshold: float, offset: int) -> Any:
        """Indices of the kept boxes, best score first."""
        if offset:
            raise missing_op("nms with offset=1 (boxes that include their last pixel, as in mmdet 1)")
        from torchvision.ops import nms  # type: ignore[import-untyped]

        self.replaced.add("nms")
        return nms(boxes, scores, iou_threshold)

    def roi_align_forward(
        self,
        input: Any,  # noqa: A002
        rois: Any,
        output: Any,
        argmax_y: Any,  # noqa: ARG002
        argmax_x: Any,  # noqa: ARG002
        *,
        aligned_height: int,
        aligned_width: int,
        spatial_scale: float,
        sampling_ratio: int,
        pool_mode: int,
        aligned: bool,
    ) -> None:
        """Average over sampled points, written to ``output``."""
        if pool_mode != 1:
            raise missing_op("roi_align_forward with pool_mode='max'")
        from torchvision.ops import roi_align

        self.replaced.add("roi_align")
        size = (aligned_height, aligned_width)
        output.copy_(roi_align(input, rois, size, spatial_scale, sampling_ratio, aligned))

    def deform_conv_forward(
        self,
        input: Any,  # noqa: A002
        weight: Any,
        offset: Any,
        output: Any,
        columns: Any,  # noqa: ARG002
        ones: Any,  # noqa: ARG002
        **sizes: int,
    ) -> None:
        """Deformable convolution, written to ``output``."""
        from torchvision.ops import deform_conv2d

        self.replaced.add("deform_conv")
        stride, padding, dilation = ((sizes[f"{name}H"], sizes[f"{name}W"]) for name in ("d", "pad", "dilation"))
        output.copy_(deform_conv2d(input, offset, weight, None, stride, padding, dilation))

    def modulated_deform_conv_forward(
        self,
        input: Any,  # noqa: A002
        weight: Any,
        bias: Any,
        ones: Any,  # noqa: ARG002
        offset: Any,
        mask: Any,
        output: Any,
        columns: Any,  # noqa: ARG002
        **sizes: Any,
    ) -> None:
        """Deformable convolution with a factor for each sampled point, written to ``output``."""
        from torchvision.ops import deform_conv2d

        from adaptrt_mmdet.deformable_convolution import as_read_by_mmcv

        self.replaced.add("modulated_deform_conv")
        stride, padding, dilation = ((sizes[f"{name}_h"], sizes[f"{name}_w"]) for name in ("stride", "pad", "dilation"))
        bias = bias if sizes["with_bias"] else None
        offset, mask = (as_read_by_mmcv(values, *output.shape[2:]) for values in (offset, mask))
        output.copy_(deform_conv2d(input, offset, weight, bias, stride, padding, dilation, mask))


def missing_op(name: str) -> DependencyError:
    return DependencyError(
        f"This model calls mmcv's compiled op {name!r}, which mmcv-lite does not have.",
        hint="Replace mmcv-lite with mmcv, which compiles in 10 to 17 minutes: pip uninstall mmcv-lite && "
        "pip install 'setuptools<82' wheel ninja && pip install --no-build-isolation 'mmcv>=2.0.1,<2.2'",
    )


def has_compiled_ops() -> bool:
    """Whether the real ``mmcv._ext`` is installed."""
    loaded = sys.modules.get(NAME)
    if loaded is not None:
        return not isinstance(loaded, StandIn)
    return importlib.util.find_spec(NAME) is not None


def ensure_ops() -> None:
    """Make ``import mmcv.ops`` work; no-op if the compiled ops are installed."""
    if not has_compiled_ops():
        sys.modules.setdefault(NAME, StandIn())


def replaced_ops() -> list[str]:
    """The compiled ops of mmcv that were called so far and computed by torchvision, sorted."""
    loaded = sys.modules.get(NAME)
    return sorted(loaded.replaced) if isinstance(loaded, StandIn) else []
