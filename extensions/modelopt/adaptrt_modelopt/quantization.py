"""One call of ModelOpt's ONNX quantization, with adaptrt's placement and calibration images."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from onnxruntime.quantization.calibrate import CalibrationDataReader

from adaptrt import Conversion, GraphError, ModelSpec, Precision
from adaptrt.quantization import int8_layers
from adaptrt_modelopt.opset import lowered
from adaptrt_modelopt.sharing import restrict_pairs

if TYPE_CHECKING:
    from adaptrt.specs.calibration import CalibrationData

# names of ModelOpt's methods; it has none that clips a percentile
METHODS = {"minmax": "max", "entropy": "entropy"}
_HINT = "To use adaptrt's own quantizer: [settings.modelopt] quantize = false in plugins.toml"


class CalibrationReader(CalibrationDataReader):  # type: ignore[misc]
    """The images of ``--calib``, read one batch at a time."""

    def __init__(self, data: CalibrationData) -> None:
        self._data = data
        self._batches: Iterator[Any] = iter(data)

    def get_next(self) -> dict[str, Any] | None:
        inputs = next(self._batches, None)
        return None if inputs is None else dict(inputs)

    def get_first(self) -> dict[str, Any]:
        return dict(self._data.read(0))

    def rewind(self) -> None:
        self._batches = iter(self._data)


def write_int8(ctx: Conversion, onnx_path: Path, spec: ModelSpec, precision: Precision) -> Path | None:
    """The Q/DQ graph in the opset of the file, or in the newest one that the target reads; metadata and spec stay.

    ``None`` if ModelOpt does not have the calibration method, or leaves all layers in float; core handles these cases.
    """
    if precision.quantized_type != "int8":
        ctx.notes.append(f"ModelOpt is used for int8 only, and {precision.name} is {precision.quantized_type}")
        return None
    calibration = ctx.request.calibration
    assert calibration is not None
    assert ctx.calibration is not None
    method = METHODS.get(calibration.method)
    if method is None:
        ctx.notes.append(f"ModelOpt has no calibration method {calibration.method}: adaptrt quantizes")
        return None
    if calibration.cache is not None:
        ctx.notes.append("--calib-cache is not used: ModelOpt measures ranges again")
    layers, note = int8_layers(onnx_path, spec, ctx.request)
    source = onnx.load(str(onnx_path))
    kinds = {node.name: node.op_type for node in source.graph.node}
    folder = ctx.workdir / "modelopt"
    folder.mkdir()
    onnx.save(source, str(folder / "float32.onnx"))  # a copy: ModelOpt writes to the folder of its source
    path = ctx.workdir / f"modelopt.{precision.name}.onnx"
    try:
        from modelopt.onnx.quantization import quantize

        quantize(
            str(folder / "float32.onnx"),
            quantize_mode="int8",
            calibration_data_reader=CalibrationReader(ctx.calibration),
            calibration_method=method,
            calibration_eps=["cpu"],
            op_types_to_quantize=sorted({kinds[name] for name in layers}),
            nodes_to_quantize=[f"^{re.escape(name)}$" for name in layers],
            high_precision_dtype="fp32",  # adaptrt's rules give the rest its types
            output_path=str(path),
            log_level="INFO" if ctx.request.verbose else "ERROR",
        )
        model = onnx.load(str(path))
    except Exception as error:  # ModelOpt raises what onnx, ONNX Runtime and its own asserts raise
        raise GraphError(f"ModelOpt cannot quantize this graph: {type(error).__name__}: {error}", hint=_HINT) from error
    quantized = sum(node.op_type == "QuantizeLinear" for node in model.graph.node)
    if not quantized:
        ctx.notes.append(
            f"ModelOpt leaves all {len(layers)} layers in float (few channels, or a vector times a matrix): adaptrt quantizes"
        )
        return None
    restrict_pairs(model, layers)
    model, opsets = lowered(model, source, ctx.newest_opset, _HINT)
    del model.metadata_props[:]
    model.metadata_props.extend(source.metadata_props)  # the spec travels in there
    onnx.save(model, str(path))
    ctx.notes.append(
        f"{precision.name}: quantized by nvidia-modelopt {version('nvidia-modelopt')}, {calibration.method} over "
        f"{ctx.calibration.title}; {quantized} QuantizeLinear nodes for {note}; {opsets}"
    )
    return path
