"""Runs ``best.openvino.xml`` on a CPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt import DependencyError, ModelError, ModelSpec, UsageError
from adaptrt.specs.backends import OpenOptions
from adaptrt.specs.runners import TensorInfo
from adaptrt_openvino.executed import executed_precision, mismatch
from adaptrt_openvino.model_file import open_model
from adaptrt_openvino.runtime import compile_model, computes_bf16, cpu_name, first_line, new_core
from adaptrt_openvino.saturation import WARNING, int8_saturates

if TYPE_CHECKING:
    from numpy.typing import NDArray


class OpenVINORunner:
    """Runs a model file in the precision that it was built for. ``run`` may be called from multiple threads."""

    backend = "openvino"

    def __init__(self, path: Path, options: OpenOptions) -> None:
        if options.device not in (None, "cpu"):
            raise UsageError(
                f"OpenVINO models run only on the CPU; got device {options.device!r}.", hint="Remove the device."
            )
        self._name = path.name
        core = new_core()
        for library in options.plugin_libs:
            try:
                core.add_extension(str(library.resolve()))
            except Exception as error:
                raise UsageError(
                    f"{library} is not a library of OpenVINO operators: {first_line(error)}", hint="Check the path."
                ) from error
        model, self.spec, self.record = open_model(core, path)
        precision = self.record.precision if self.record else "fp32"
        self.warnings = (WARNING,) if precision == "int8" and int8_saturates(core) else ()
        if precision == "bf16" and not computes_bf16(core):
            raise DependencyError(
                f"{path.name} requires bf16, which {cpu_name(core)} does not support.",
                hint="Build it with --precision fp32.",
            )
        try:
            self._compiled: Any = compile_model(core, model, precision)
            self.executed = executed_precision(self._compiled, model)
        except Exception as error:
            raise ModelError(
                f"OpenVINO cannot compile {path.name}: {first_line(error)}", hint="Convert the model again."
            ) from error
        wrong = mismatch(precision, self.executed, self.record.quantized if self.record else 0)
        if wrong:
            raise DependencyError(
                f"{path.name} was built for {precision}, but does not compute in {precision} on {cpu_name(core)}: {wrong}.",
                hint="Build it again on this machine.",
            )
        self.inputs = tuple(tensor_info(port, self.spec) for port in self._compiled.inputs)
        self.outputs = tuple(tensor_info(port, self.spec) for port in self._compiled.outputs)
        self._idle: deque[Any] = deque()  # a request runs one call at a time

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs by name, in the order of the file; the arrays belong to the caller."""
        if self._compiled is None:
            raise ModelError(f"{self._name} has been closed.", hint="Load it again: adaptrt.load(...)")
        self._require_fitting(inputs)
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        ports = zip(self.inputs, self._compiled.inputs, strict=True)
        try:
            found = request.infer({port: inputs[info.name] for info, port in ports}, share_inputs=True)
        except Exception as error:
            raise ModelError(
                f"OpenVINO failed on {_shapes(inputs)}: {first_line(error)}", hint=self._takes()
            ) from error
        outputs = {info.name: found[index] for index, info in enumerate(self.outputs)}
        self._idle.append(request)
        return outputs

    def close(self) -> None:
        """Free the compiled model."""
        self._compiled = None
        self._idle.clear()

    def _require_fitting(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Reject missing inputs and other types: OpenVINO itself uses zeros for the former and casts the latter."""
        known = {info.name: info for info in self.inputs}
        fits = inputs.keys() == known.keys() and all(
            str(array.dtype) == known[name].dtype for name, array in inputs.items()
        )
        if not fits:
            raise ModelError(f"The inputs do not match the model: {_shapes(inputs)}.", hint=self._takes())

    def _takes(self) -> str:
        return f"The file expects {', '.join(f'{info.name} {info.shape} {info.dtype}' for info in self.inputs)}."


def _shapes(inputs: Mapping[str, NDArray[Any]]) -> str:
    return ", ".join(f"{name} {tuple(array.shape)} {array.dtype}" for name, array in inputs.items()) or "nothing"


def tensor_info(port: Any, spec: ModelSpec | None) -> TensorInfo:
    """The input or output of a port. A tensor may have several names, such as both ends of an Identity; prefers the spec's."""
    names = port.get_names()
    known = [*(one.name for one in spec.inputs), *(one.name for one in spec.outputs)] if spec else []
    name = next((one for one in known if one in names), None) or port.get_any_name()
    shape = tuple(
        axis.get_length() if axis.is_static else f"{axis.get_min_length()}..{axis.get_max_length()}"
        for axis in port.get_partial_shape()
    )
    return TensorInfo(name, str(np.dtype(port.get_element_type().to_dtype())), shape)
