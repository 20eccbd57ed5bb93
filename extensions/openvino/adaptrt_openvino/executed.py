"""The precision that a compiled model computes in, read from its layers: OpenVINO may not use the requested one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adaptrt.onnxfile.files import OnnxFiles

_PRODUCTS = {"Convolution", "Deconvolution", "FullyConnected", "MatMul"}
_ONNX_PRODUCTS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_HALF = ("bf16", "f16")
_INT8 = ("i8", "u8")


@dataclass(frozen=True)
class Executed:
    """Layers by the precision they compute in; ``products`` are the convolutions and matrix products among them."""

    layers: Mapping[str, int] = field(default_factory=dict)
    products: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        """``f32 in 80 layers, u8 in 12``."""
        counts = [f"{name} in {count}" for name, count in Counter(self.layers).most_common()]
        return ", ".join([f"{counts[0]} layers", *counts[1:]]) if counts else "no layers"


def executed_precision(compiled: Any, model: Any) -> Executed:
    """The precisions that the layers of a compiled ``model`` compute in, without layers that only prepare weights.

    OpenVINO's type of a layer includes all inputs, so a float32 layer with float16 weights is reported as ``f16``. Here,
    a layer counts as 16-bit only if its input or output data is 16-bit. A layer that reads booleans, which OpenVINO
    stores in 8 bits, or a uint8 input of the model is reported as ``u8``. Here, it counts by its other data; layers that only
    move or combine such values do not count.
    """
    layers: Counter[str] = Counter()
    products: Counter[str] = Counter()
    constant: set[str] = set()
    booleans = _booleans(model)
    unquantized: set[str] = set()  # 8-bit data that is not
    for layer in compiled.get_runtime_model().get_ordered_ops():
        kind, precision = _fact(layer, "layerType"), _fact(layer, "runtimePrecision")
        sources = [port.get_source_output().get_node() for port in layer.inputs()]
        data = [source for source in sources if source.get_name() not in constant]
        if kind == "Const" or (sources and not data):
            constant.add(layer.get_name())
            continue
        if kind == "Input" or booleans & {*_fact(layer, "originalLayersNames").split(",")}:
            unquantized.add(layer.get_name())
        if kind in ("Input", "Output") or precision == "dynamic":
            continue
        if precision in _INT8 and kind not in _PRODUCTS:
            read = [source for source in data if set(_types(source)) & {*_INT8}]
            if read and all(source.get_name() in unquantized for source in read):
                others = [name for one in (layer, *data) for name in _types(one) if name not in _INT8]
                if not others:
                    unquantized.add(layer.get_name())
                    continue
                precision = others[0]
        if precision in _HALF:
            moved = [name for one in (*data, layer) for name in _types(one)]
            precision = precision if precision in moved else moved[0]
        layers[precision] += 1
        if kind in _PRODUCTS:
            products[precision] += 1
    return Executed(dict(layers), dict(products))


def quantized_products(onnx_path: Path, onnx: OnnxFiles | None = None) -> int:
    """The number of convolutions and matrix products in a graph with Q/DQ nodes on both inputs."""
    nodes = (onnx or OnnxFiles()).outline(onnx_path).nodes
    makers = {output: node.operator for node in nodes for output in node.outputs}
    return sum(
        node.operator in _ONNX_PRODUCTS and all(makers.get(name) == "DequantizeLinear" for name in node.inputs[:2])
        for node in nodes
    )


def mismatch(precision: str, executed: Executed, quantized: int = 0) -> str:
    """How the executed precision differs from ``precision``; empty if it does not.

    fp32, and fp16, which only stores weights in half precision: no layer computes in 16 bits. bf16: most convolutions and
    matrix products compute in bf16. int8: most of those that the graph quantizes compute in int8; in other precisions,
    none does.
    """
    int8 = sum(executed.products.get(kind, 0) for kind in _INT8)
    if precision == "int8":
        counted = f"{int8} of {quantized} convolutions and matrix products that the graph quantizes compute in int8"
        return "" if 2 * int8 > quantized > 0 else counted
    if int8:
        return f"{int8} convolutions and matrix products compute in int8, because the graph quantizes them"
    if precision == "bf16":
        found, total = executed.products.get("bf16", 0), sum(executed.products.values())
        return "" if 2 * found > total else f"{found} of {total} convolutions and matrix products compute in bf16"
    half = [name for name in _HALF if name in executed.layers]
    return ", ".join(f"{executed.layers[name]} layers compute in {name}" for name in half)


def _booleans(model: Any) -> set[str]:
    """The names of the operators whose result is boolean."""
    return {
        operator.get_friendly_name()
        for operator in model.get_ordered_ops()
        for port in operator.outputs()
        if port.get_element_type().get_type_name() == "boolean"
    }


def _types(layer: Any) -> list[str]:
    return _fact(layer, "outputPrecisions").split(",")


def _fact(layer: Any, name: str) -> str:
    return str(layer.get_rt_info()[name].astype(str))
