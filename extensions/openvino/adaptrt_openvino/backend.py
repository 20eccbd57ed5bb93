"""The backend ``openvino``, the target of the entry point. OpenVINO itself is imported inside the methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt import BuildError, DependencyError, ModelSpec
from adaptrt.specs.backends import BackendRequest, Built, Expression, OpenOptions
from adaptrt.specs.build import BuildOptions
from adaptrt.specs.descriptions import Description
from adaptrt.specs.precisions import PRECISIONS as KNOWN
from adaptrt.specs.precisions import Precision
from adaptrt.specs.targets import Target
from adaptrt_openvino.runtime import (
    MODES,
    computes_bf16,
    cpu_capabilities,
    cpu_name,
    mode_of,
    new_core,
    openvino_version,
)

if TYPE_CHECKING:
    from adaptrt_openvino.runner import OpenVINORunner

TARGET = Target(
    name="openvino",
    title="OpenVINO",
    newest_opset=20,  # later ones are read too, their operators as those of the last version that it knows
    strongly_typed=False,
    bf16=True,
    int64=False,
)


class OpenVINOBackend:
    """OpenVINO models on a CPU.

    Files are float32, except for int8, which is part of the ONNX graph. The other precisions are settings: bf16 for the
    whole model, if the CPU supports it; fp16 stores weights in half precision and computes in float32.
    """

    name = "openvino"
    title = "OpenVINO"
    suffixes = (".openvino.xml",)
    devices = ("cpu",)
    targets: Mapping[str, Target] = {TARGET.name: TARGET}
    purpose = "Build and run OpenVINO models"
    requirement = "adaptrt-openvino[openvino]"

    def unavailable(self, target: Target, device: int = 0) -> str | None:  # noqa: ARG002
        """Why nothing can be built here; ``None`` if it can."""
        try:
            new_core()
        except DependencyError as error:
            return error.message.rstrip(".")
        return None

    def express(self, precision: Precision, target: Target) -> Expression:
        """int8 is in the graph; bf16 depends on the CPU of this machine."""
        mode = mode_of(precision)
        if mode is None:
            known = ", ".join(one.name for mode in MODES for one in KNOWN.all() if mode_of(one) == mode)
            return Expression(unsupported=f"OpenVINO on a CPU does not compute in {precision.name}, only in {known}")
        if mode == "bf16" and self.unavailable(target) is None:
            core = new_core()
            if not computes_bf16(core):
                return Expression(unsupported=f"{cpu_name(core)} does not compute in bf16")
        return Expression(graph=precision.form == "qdq")

    def build(self, request: BackendRequest) -> Built:
        """Write ``NAME.openvino.xml`` and ``NAME.openvino.bin``, and check the precision that the model computes in."""
        from adaptrt_openvino.build import build

        reason = self.unavailable(request.target) or self.express(request.precision, request.target).unsupported
        if reason:
            raise BuildError(f"No OpenVINO model can be built: {reason}.", hint="Choose another --precision or --to.")
        return build(request)

    def open(self, path: Path, options: OpenOptions) -> OpenVINORunner:
        from adaptrt_openvino.runner import OpenVINORunner

        return OpenVINORunner(path, options)

    def machine(self, target: Target, options: BuildOptions) -> Mapping[str, str]:  # noqa: ARG002
        """The CPU: its supported precisions determine what is built and how it is compiled."""
        if self.unavailable(target) is not None:
            return {}
        core = new_core()
        return {"cpu": cpu_name(core), "computes": ", ".join(cpu_capabilities(core)), "openvino": openvino_version()}

    def check_runtime(self, *, builder: bool = False) -> None:  # noqa: ARG002
        """Raises a ``DependencyError`` if OpenVINO is not installed."""
        new_core()

    def read_spec(self, path: Path) -> ModelSpec | None:
        """The spec in the .xml; the model is read and not compiled."""
        from adaptrt_openvino.model_file import open_model

        return open_model(new_core(), path)[1]

    def files_of(self, path: Path) -> Sequence[Path]:
        from adaptrt_openvino.model_file import weights_beside

        return (path, weights_beside(path))

    def describe(self, path: Path) -> Description:
        from adaptrt_openvino.describe import describe

        return describe(path)


BACKEND = OpenVINOBackend()
