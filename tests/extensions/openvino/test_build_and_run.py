"""What is built computes what ONNX Runtime computes, in the precision that was asked for, and says which that is."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("adaptrt_openvino", reason="the extension is not installed (pip install adaptrt-openvino)")
pytest.importorskip("openvino", reason="needs OpenVINO (pip install 'adaptrt-openvino[openvino]')")
pytest.importorskip("onnxruntime", reason="results are compared with ONNX Runtime")
pytest.importorskip("onnx", reason="models are built from ONNX files")

import onnx
from small_graphs import LOGIC, SPEC, some_images, write_graph, write_logic

from adaptrt import BuildError, Dim, InputSpec
from adaptrt.backends.onnxruntime.runner import OnnxRuntimeRunner
from adaptrt.specs.backends import BACKENDS, OpenOptions
from adaptrt_openvino.build import build
from adaptrt_openvino.executed import Executed, executed_precision, mismatch
from adaptrt_openvino.runtime import compile_model, computes_bf16, new_core
from adaptrt_openvino.saturation import WARNING, int8_saturates

BACKEND: Any = BACKENDS.find("openvino")
REQUEST = Callable[..., Any]


@pytest.fixture
def quantized(tmp_path: Path) -> Path:
    return write_graph(tmp_path / "quantized.onnx", quantized=True)


def opened(request: Any) -> Any:
    return BACKEND.open(BACKEND.build(request).files[".openvino.xml"], OpenOptions())


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
def test_float32_equals_onnx_runtime(small: Path, request_for: REQUEST, batch: int) -> None:
    runner = opened(request_for(small))
    expected = OnnxRuntimeRunner(small).run(some_images(batch))
    found = runner.run(some_images(batch))
    assert list(found) == list(expected) == ["logits", "maps"]
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-5 * np.abs(array).max())
    assert runner.executed.products == {"f32": 2}
    assert runner.spec == SPEC


def test_a_batch_beyond_the_spec_is_refused(small: Path, request_for: REQUEST) -> None:
    from adaptrt import ModelError

    with pytest.raises(ModelError, match=r"OpenVINO failed on images \(5, 3, 16, 16\)") as caught:
        opened(request_for(small)).run(some_images(5))
    assert caught.value.hint == "The file expects images ('1..4', 3, 16, 16) float32."


def test_a_fixed_batch(small: Path, request_for: REQUEST) -> None:
    fixed = replace(SPEC, inputs=(InputSpec.image(16, 16, batch=Dim.fixed(2)),))
    runner = opened(request_for(small, spec=fixed))
    assert [info.shape for info in (*runner.inputs, *runner.outputs)] == [(2, 3, 16, 16), (2, 5), (2, 8, 16, 16)]
    assert runner.run(some_images(2))["logits"].shape == (2, 5)


def test_outputs_belong_to_the_caller(small: Path, request_for: REQUEST) -> None:
    runner = opened(request_for(small))
    first = runner.run(some_images(2, seed=1))
    kept = {name: array.copy() for name, array in first.items()}
    runner.run(some_images(2, seed=2))
    for name, array in first.items():
        np.testing.assert_array_equal(array, kept[name])
        array += 1  # ours to write to


def test_several_threads(small: Path, request_for: REQUEST) -> None:
    runner = opened(request_for(small))
    samples = [some_images(1 + seed % 4, seed) for seed in range(32)]
    expected = [runner.run(sample)["maps"] for sample in samples]
    with ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(runner.run, samples), expected, strict=True):
            np.testing.assert_allclose(found["maps"], wanted, rtol=0, atol=1e-6)


def test_float16_compresses_weights_and_computes_in_float32(small: Path, request_for: REQUEST, tmp_path: Path) -> None:
    full = BACKEND.build(request_for(small)).files[".openvino.bin"].stat().st_size
    built = BACKEND.build(request_for(small, "fp16"))
    assert built.files[".openvino.bin"].stat().st_size < 0.6 * full
    assert built.notes == [
        "OpenVINO fp16 is weight compression: weights are stored in float16, and the model computes in float32"
    ]
    assert built.record.products == {"f32": 2}

    model = onnx.load(str(small))
    for weight in model.graph.initializer:
        rounded = onnx.numpy_helper.to_array(weight).astype(np.float16).astype(np.float32)
        weight.CopyFrom(onnx.numpy_helper.from_array(rounded, weight.name))
    onnx.save(model, str(tmp_path / "rounded.onnx"))
    expected = OnnxRuntimeRunner(tmp_path / "rounded.onnx").run(some_images(3))
    found = BACKEND.open(built.files[".openvino.xml"], OpenOptions()).run(some_images(3))
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-5 * np.abs(array).max())


def test_truth_values_are_not_computed_in_int8(tmp_path: Path, request_for: REQUEST) -> None:
    """OpenVINO stores them in 8 bits, and reports layers that read them as ``u8``: casts, Where, And, Not, Reshape."""
    path = write_logic(tmp_path / "logic.onnx")
    built = BACKEND.build(request_for(path, spec=LOGIC))
    assert built.record.layers.keys() == {"f32"}
    runner = BACKEND.open(built.files[".openvino.xml"], OpenOptions())
    assert runner.executed.layers == built.record.layers
    inputs = {**some_images(2), "bytes": np.arange(4, dtype=np.uint8).reshape(2, 2)}
    expected = OnnxRuntimeRunner(path).run(inputs)
    for name, array in runner.run(inputs).items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=1e-6)


def test_a_quantized_graph_computes_in_int8(quantized: Path, request_for: REQUEST) -> None:
    """A CPU without VNNI saturates: that is measured and said, and images at a quarter of the range are free of it."""
    said: list[str] = []
    request = request_for(quantized, "int8", warn=said.append)
    assert BACKEND.express(request.precision, request.target).graph
    built = BACKEND.build(request)
    assert sum(built.record.products.get(kind, 0) for kind in ("i8", "u8")) == built.record.quantized == 2
    assert built.notes == ["OpenVINO computes 2 of 2 quantized convolutions and matrix products in int8"]
    runner = BACKEND.open(built.files[".openvino.xml"], OpenOptions())
    assert said == list(runner.warnings) == ([WARNING] if int8_saturates(new_core()) else [])

    dark, bright = ({"images": some_images(3)["images"] * scale} for scale in (0.25, 1))
    for images, saturates in ((dark, False), (bright, bool(said))):
        expected, found = OnnxRuntimeRunner(quantized, optimize=False).run(images), runner.run(images)
        difference = np.abs(found["maps"] - expected["maps"]).max() / np.abs(expected["maps"]).max()
        assert difference > 0.01 if saturates else difference < 1e-5


def test_int8_of_a_float32_graph_is_refused(small: Path, request_for: REQUEST) -> None:
    with pytest.raises(BuildError, match="int8 needs an ONNX graph with QuantizeLinear"):
        BACKEND.build(request_for(small, "int8"))


def test_a_quantized_graph_is_not_float32(quantized: Path, request_for: REQUEST) -> None:
    with pytest.raises(BuildError, match="2 convolutions and matrix products compute in int8"):
        BACKEND.build(request_for(quantized))


def test_bfloat16(small: Path, request_for: REQUEST) -> None:
    """Where the CPU has it; elsewhere OpenVINO silently computes in float32, which is read from the layers."""
    request = request_for(small, "bf16")
    if computes_bf16(new_core()):
        built = BACKEND.build(request)
        assert built.record.products.get("bf16", 0) == 2
        expected = OnnxRuntimeRunner(small).run(some_images(3))
        found = BACKEND.open(built.files[".openvino.xml"], OpenOptions()).run(some_images(3))
        difference = np.abs(found["maps"] - expected["maps"]).max() / np.abs(expected["maps"]).max()
        assert 1e-4 < difference < 0.02
        return
    assert "does not compute in bf16" in BACKEND.express(request.precision, request.target).unsupported
    with pytest.raises(BuildError, match="No OpenVINO model can be built: .* does not compute in bf16"):
        BACKEND.build(request)
    with pytest.raises(BuildError, match="0 of 2 convolutions and matrix products compute in bf16"):
        build(request)  # past the question whether this CPU can
    assert not list(request.output.parent.iterdir())


def _default_precision(core: Any, path: Path) -> Executed:
    model = core.read_model(path)
    return executed_precision(core.compile_model(model, "CPU"), model)


def test_the_default_of_openvino_is_not_taken(small: Path, request_for: REQUEST) -> None:
    """On a CPU with bfloat16 OpenVINO computes in it unless told otherwise: a float32 build that did so would fail."""
    core = new_core()
    if not computes_bf16(core):
        pytest.skip("this CPU does not compute in bf16, so OpenVINO's default is float32")
    default = _default_precision(core, small)
    assert default.products == {"bf16": 2}
    assert "compute in bf16" in mismatch("fp32", default)
    assert opened(request_for(small)).executed.layers.keys() == {"f32"}


@pytest.mark.parametrize(("precision", "hint"), [("fp32", "float32"), ("fp16", "float32"), ("int8", "float32")])
def test_the_precision_is_always_set(small: Path, precision: str, hint: str) -> None:
    core = new_core()
    given: dict[str, str] = {}
    real = core.compile_model

    class Spy:
        def compile_model(self, model: Any, device: str, settings: dict[str, str]) -> Any:
            given.update(settings)
            return real(model, device, settings)

    compiled = compile_model(Spy(), core.read_model(small), precision)
    assert given["INFERENCE_PRECISION_HINT"] == "f32"
    assert hint in str(compiled.get_property("INFERENCE_PRECISION_HINT"))
