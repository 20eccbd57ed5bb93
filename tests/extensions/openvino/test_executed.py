"""Reading the executed precision, on layers as OpenVINO describes them: what no single CPU computes all of."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("adaptrt_openvino", reason="the extension is not installed (pip install adaptrt-openvino)")

from adaptrt_openvino.executed import Executed, executed_precision, mismatch


class Fact(str):
    def astype(self, kind: type) -> str:
        return kind(self)


class Layer:
    """A node of a runtime model: (name, kind, precision, precision of its output, inputs)."""

    def __init__(self, name: str, kind: str, precision: str, output: str, *inputs: Layer) -> None:
        self._name, self._inputs = name, inputs
        self._facts = {
            "layerType": Fact(kind),
            "runtimePrecision": Fact(precision),
            "outputPrecisions": Fact(output),
            "originalLayersNames": Fact(name),
        }

    def get_name(self) -> str:
        return self._name

    def get_rt_info(self) -> dict[str, Fact]:
        return self._facts

    def inputs(self) -> list[Port]:
        return [Port(layer) for layer in self._inputs]


class Port:
    def __init__(self, layer: Layer) -> None:
        self._layer = layer

    def get_source_output(self) -> Port:
        return self

    def get_node(self) -> Layer:
        return self._layer


class Operator:
    """An operator of the model: (name, element type of its result)."""

    def __init__(self, name: str, kind: str) -> None:
        self._name, self._kind = name, kind

    def get_friendly_name(self) -> str:
        return self._name

    def outputs(self) -> list[Operator]:
        return [self]

    def get_element_type(self) -> Operator:
        return self

    def get_type_name(self) -> str:
        return self._kind


class Model:
    def __init__(self, *operators: Operator) -> None:
        self._operators = operators

    def get_ordered_ops(self) -> tuple[Operator, ...]:
        return self._operators


class Compiled:
    def __init__(self, *layers: Layer) -> None:
        self._layers = layers

    def get_runtime_model(self) -> Any:
        return self

    def get_ordered_ops(self) -> tuple[Layer, ...]:
        return self._layers


def read(*layers: Layer, model: Model | None = None) -> Executed:
    return executed_precision(Compiled(*layers), model or Model())


IMAGE = Layer("images", "Input", "f32", "f32")
HALF_WEIGHTS = Layer("w", "Const", "f16", "f16")
TURNED = Layer("t", "Transpose", "f16", "f16", HALF_WEIGHTS)


def test_weights_in_float16_do_not_make_a_layer_of_float16() -> None:
    product = Layer("fc", "FullyConnected", "f16", "f32", IMAGE, TURNED)
    assert read(IMAGE, HALF_WEIGHTS, TURNED, product) == Executed({"f32": 1}, {"f32": 1})


@pytest.mark.parametrize("output", ["bf16", "f32"])
def test_data_in_bfloat16_does(output: str) -> None:
    """The last layer before a float32 output, too."""
    reorder = Layer("r", "Reorder", "f32", "bf16", IMAGE)
    conv = Layer("conv", "Convolution", "bf16", output, reorder, Layer("w", "Const", "bf16", "bf16"))
    found = read(IMAGE, reorder, conv)
    assert found.products == {"bf16": 1}
    assert mismatch("fp32", found) == "1 layers compute in bf16"
    assert mismatch("fp16", found) == "1 layers compute in bf16"
    assert not mismatch("bf16", found)


def test_truth_values_beside_quantized_data() -> None:
    """Both have 8 bits. A layer counts as int8 if it reads any quantized data; so does a comparison of them."""
    quantized = Layer("q", "FakeQuantize", "f32", "u8", IMAGE)
    above = Layer("above", "Eltwise", "f32", "u8", IMAGE, IMAGE)
    chosen = Layer("where", "Eltwise", "u8", "u8", above, quantized)
    compared = Layer("less", "Eltwise", "u8", "u8", chosen, quantized)
    both = Layer("and", "Eltwise", "u8", "u8", above, compared)
    cast = Layer("cast", "Convert", "u8", "f32", both)
    model = Model(Operator("above", "boolean"), Operator("less", "boolean"), Operator("where", "f32"))
    assert read(IMAGE, quantized, above, chosen, compared, both, cast, model=model) == Executed({"f32": 3, "u8": 2})


def test_bytes_that_a_convolution_multiplies_are_int8() -> None:
    pixels = Layer("pixels", "Input", "u8", "u8")
    conv = Layer("conv", "Convolution", "u8", "f32", pixels, Layer("w", "Const", "i8", "i8"))
    assert read(pixels, conv) == Executed({"u8": 1}, {"u8": 1})


@pytest.mark.parametrize(
    ("precision", "products", "quantized", "said"),
    [
        ("fp32", {"f32": 9}, 0, ""),
        ("bf16", {"f32": 4, "bf16": 5}, 0, ""),
        ("bf16", {"f32": 5, "bf16": 4}, 0, "4 of 9 convolutions and matrix products compute in bf16"),
        ("bf16", {}, 0, "0 of 0 convolutions and matrix products compute in bf16"),
        ("int8", {"f32": 90, "u8": 1, "i8": 5}, 6, ""),
        (
            "int8",
            {"f32": 4, "u8": 2},
            6,
            "2 of 6 convolutions and matrix products that the graph quantizes compute in int8",
        ),
        (
            "bf16",
            {"bf16": 5, "i8": 1},
            0,
            "1 convolutions and matrix products compute in int8, because the graph quantizes them",
        ),
    ],
)
def test_what_counts_as_another_precision(precision: str, products: dict[str, int], quantized: int, said: str) -> None:
    assert mismatch(precision, Executed(products, products), quantized) == said


def test_in_words() -> None:
    assert str(Executed({"i8": 3, "f32": 20})) == "f32 in 20 layers, i8 in 3"
    assert str(Executed()) == "no layers"
