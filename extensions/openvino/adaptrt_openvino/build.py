"""Converts an ONNX file to an OpenVINO model: shapes, files, and the precision that the model computes in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adaptrt import BuildError, ModelSpec, UsageError
from adaptrt.specs.backends import BackendRequest, Built
from adaptrt.store.hashing import file_sha256
from adaptrt_openvino.executed import Executed, executed_precision, mismatch, quantized_products
from adaptrt_openvino.model_file import (
    BIN,
    XML,
    BuildRecord,
    attach,
    open_model,
    weights_beside,
    write_model,
    written_aside,
)
from adaptrt_openvino.runtime import (
    compile_model,
    cpu_name,
    first_line,
    import_openvino,
    mode_of,
    new_core,
    openvino_version,
)
from adaptrt_openvino.saturation import WARNING, int8_saturates

_STAGES = ("read the ONNX file", "write the model", "compile it")


def build(request: BackendRequest) -> Built:
    """Write both files, and compile the model from them once, to verify that it runs."""
    precision = mode_of(request.precision)
    assert precision is not None  # the backend refuses others
    if request.keep_fp32 and precision == "bf16":
        raise UsageError(
            "OpenVINO computes the whole model in bf16 and cannot keep individual nodes in float32.",
            hint="Remove --keep-fp32, or use another --precision.",
        )
    quantized = quantized_products(request.onnx_path, request.onnx) if precision == "int8" else 0
    if precision == "int8" and not quantized:
        raise BuildError(
            "int8 needs an ONNX graph with QuantizeLinear and DequantizeLinear nodes on both inputs of its convolutions and "
            "matrix products; this one has none.",
            hint="Quantize the ONNX file first, then build from it.",
        )
    core = new_core()
    request.progress(0, len(_STAGES), _STAGES[0])
    model = read_onnx_model(core, request.onnx_path, request.spec)
    attach(model, request.spec)
    with written_aside(request.output) as path:
        request.progress(1, len(_STAGES), _STAGES[1])
        write_model(model, path, half_weights=precision == "fp16")
        request.progress(2, len(_STAGES), _STAGES[2])
        executed = _executed(core, path, precision)
        wrong = mismatch(precision, executed, quantized)
        if wrong:
            raise BuildError(
                f"OpenVINO does not compute this model in {precision} on {cpu_name(core)}: {wrong}.",
                hint="Choose another --precision, or build on the machine that will run the model.",
            )
        record = BuildRecord(
            precision=precision,
            openvino=openvino_version(),
            cpu=cpu_name(core),
            weights=file_sha256(weights_beside(path)),
            layers=executed.layers,
            products=executed.products,
            quantized=quantized,
            command=request.command,
        )
        attach(model, request.spec, record)
        write_model(model, path, half_weights=precision == "fp16")  # the same weights, now with the record
    request.progress(len(_STAGES), len(_STAGES), "")
    if precision == "int8" and int8_saturates(core):
        request.warn(WARNING)
    return Built(
        files={XML: request.output, BIN: weights_beside(request.output)},
        record=record,
        summary=str(executed),
        facts={"OpenVINO": record.openvino, "CPU": record.cpu},
        layers=executed.layers,
        notes=[note(precision, executed, quantized)],
    )


def read_onnx_model(core: Any, path: Path, spec: ModelSpec) -> Any:
    """The graph as OpenVINO reads it, with the spec's inputs and shapes."""
    try:
        model = core.read_model(path)
    except Exception as error:
        raise BuildError(
            f"OpenVINO cannot read {path.name}: {first_line(error)}", hint="Try a lower --opset."
        ) from error
    names = {name for port in model.inputs for name in port.get_names()}
    missing = [tensor.name for tensor in spec.inputs if tensor.name not in names]
    if missing or len(model.inputs) != len(spec.inputs):
        raise BuildError(
            f"The graph takes {', '.join(sorted(names))}; the spec has {', '.join(one.name for one in spec.inputs)}.",
            hint="Convert the model again.",
        )
    openvino = import_openvino()
    shapes = {
        tensor.name: openvino.PartialShape([openvino.Dimension(axis.min, axis.max) for axis in tensor.dims])
        for tensor in spec.inputs
    }
    try:
        model.reshape(shapes)
    except Exception as error:
        raise BuildError(
            f"OpenVINO does not accept the shapes of the spec for this graph: {first_line(error)}",
            hint="Choose other shapes: --batch, --imgsz or --shape.",
        ) from error
    return model


def note(precision: str, executed: Executed, quantized: int) -> str:
    """A sentence for the report on what the precision means in OpenVINO."""
    if precision == "fp16":
        return "OpenVINO fp16 is weight compression: weights are stored in float16, and the model computes in float32"
    if precision == "int8":
        found = sum(executed.products.get(kind, 0) for kind in ("i8", "u8"))
        return f"OpenVINO computes {found} of {quantized} quantized convolutions and matrix products in int8"
    total = sum(executed.products.values())
    kind = "bf16" if precision == "bf16" else "f32"
    return f"OpenVINO computes {executed.products.get(kind, 0)} of {total} convolutions and matrix products in {kind}"


def _executed(core: Any, path: Path, precision: str) -> Executed:
    model, _, _ = open_model(core, path)
    try:
        return executed_precision(compile_model(core, model, precision), model)
    except Exception as error:
        raise BuildError(
            f"OpenVINO cannot compile this graph: {first_line(error)}",
            hint="Try a lower --opset or another --precision.",
        ) from error
