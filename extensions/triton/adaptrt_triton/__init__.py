"""``adaptrt package triton``: a model repository for NVIDIA Triton, the network alone or an ensemble."""

from __future__ import annotations

from pathlib import Path

from adaptrt.specs.packagers import Package, PackageRequest
from adaptrt_triton.options import TritonOptions


class Triton:
    """Write a model repository for NVIDIA Triton that serves FILE.

    By default, the model takes and returns the tensors of the network. With --ensemble, Triton also decodes images, preprocesses them
    as adaptrt predict does, and returns predictions as JSON; adaptrt must then be installed for Triton's Python.
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
