"""``adaptrt package triton``: a model repository for NVIDIA Triton, the network alone or an ensemble."""

from __future__ import annotations

from pathlib import Path

from adaptrt.specs.packagers import Package, PackageRequest
from adaptrt_triton.options import TritonOptions


class Triton:
    """Write a model repository for NVIDIA Triton that serves FILE.

    The network alone takes and returns its own tensors. With --ensemble, Triton also decodes images, preprocesses them
    as adaptrt predict does, and returns predictions as JSON; Triton's Python then needs adaptrt.
    """

    name = "triton"
    summary = "model repository for NVIDIA Triton"
    options = TritonOptions
    examples = (
        ("adaptrt package triton best.onnx -o model_repository/ --image bus.jpg", "the network alone, in ONNX Runtime"),
        ("adaptrt package triton best.engine -o model_repository/ --ensemble", "with pre- and postprocessing"),
    )

    def write(self, request: PackageRequest, folder: Path) -> Package:
        from adaptrt_triton.repository import write_repository

        return write_repository(request, folder)


PACKAGER = Triton()
