"""Q/DQ nodes where they belong, with ranges out of real runs."""

from __future__ import annotations

import json
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper
from small_convnet import SIDE, SPEC, write_convnet

from adaptrt.errors import GraphError, UsageError
from adaptrt.quantization import LayerPatterns, Quantized, calibrate, write_quantized
from adaptrt.specs import METADATA_KEY
from adaptrt.specs.calibration import CalibrationData


def data_of(arrays: list[Any], *, digest: str = "a", probes: list[Any] | None = None) -> CalibrationData:
    probes = probes or []
    return CalibrationData(
        count=sum(len(array) for array in arrays),
        batches=len(arrays),
        read=lambda index: {"images": arrays[index]},
        digest=digest,
        title="arrays",
        probes=len(probes),
        probe=lambda index: {"images": probes[index]},
    )


def some(count: int, scale: float = 1.0, seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [scale * rng.random((1, 3, SIDE, SIDE), dtype=np.float32) for _ in range(count)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_convnet(tmp_path / "net.onnx")


def quantized(source: Path, arrays: list[Any] | None = None, **options: Any) -> tuple[onnx.ModelProto, Quantized]:
    """With the convolution of the image in int8 too, unless the options say otherwise."""
    data = options.pop("data", None) or data_of(arrays or some(64))
    patterns = {name: options.pop(name) for name in ("keep_fp32", "keep_fp16") if name in options}
    options["patterns"] = LayerPatterns(also=options.pop("also", ["^stem$"]), **patterns)
    target = source.with_name("net.int8.onnx")
    calibrated = calibrate(source, options.pop("spec", SPEC), data, target.parent, **options)
    write_quantized(calibrated, target)
    return onnx.load(target), calibrated.found


def values_of(model: onnx.ModelProto) -> dict[str, Any]:
    return {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}


def run(path: Path, array: Any) -> Any:
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"images": array})[0]


def test_inputs_of_layers_are_quantized_and_nothing_else(source: Path) -> None:
    model, found = quantized(source)
    readers = {
        node.name: [
            model_node.op_type for name in node.input for model_node in model.graph.node if name in model_node.output
        ]
        for node in model.graph.node
    }
    assert (
        readers["stem"] == readers["body"] == readers["mixer"] == ["DequantizeLinear"] * 2
    )  # not the bias of the first
    assert "DequantizeLinear" not in readers["head"] + readers["pool"]
    assert readers["add"] == ["DequantizeLinear", "Conv"]  # the residual as "body" reads it, what it adds in float
    assert sum(node.op_type == "QuantizeLinear" for node in model.graph.node) == 6
    assert found.notes == ["int8: 3 layers in int8, float: 1 output layers; minmax over arrays"]
    assert found.warnings == []


def test_a_convolution_of_an_image_stays_float(source: Path) -> None:
    """With few input channels it is slower in int8, or TensorRT has none."""
    _, found = quantized(source, also=[])
    assert found.placement.kept == {"image layers": ["stem"], "output layers": ["head"]}


def test_scales_are_symmetric_and_of_channels_for_weights(source: Path) -> None:
    model, _ = quantized(source, [np.full((1, 3, SIDE, SIDE), 0.5, np.float32), *some(63, 0.25)])
    values = values_of(model)
    assert values["images_int8_scale"] == pytest.approx(0.5 / 127)
    assert all((values[name] == 0).all() and values[name].dtype == np.int8 for name in values if "zero_point" in name)
    body = values["body.weight"]
    expected = np.abs(body).max((1, 2, 3)) / 127
    expected[1] = 1 / 127  # a channel without weights
    np.testing.assert_allclose(values["body.weight_int8_axis0_scale"], expected, rtol=1e-6)
    assert body.dtype == np.float32
    np.testing.assert_allclose(
        values["mixer.weight_int8_axis1_scale"], np.abs(values["mixer.weight"]).max(0) / 127, rtol=1e-6
    )
    axes = {node.name: next((one.i for one in node.attribute if one.name == "axis"), None) for node in model.graph.node}
    assert axes["body.weight_int8_axis0_dequantize"] == 0
    assert axes["mixer.weight_int8_axis1_dequantize"] == 1


def test_the_graph_stays_what_it_was(source: Path) -> None:
    before, (after, _) = onnx.load(source), quantized(source)
    assert after.opset_import[0].version == before.opset_import[0].version == 17
    assert {one.key: one.value for one in after.metadata_props} == {METADATA_KEY: SPEC.to_json(), "kept": "as it is"}
    assert [value.name for value in after.graph.input] == ["images"]
    array = some(1, seed=5)[0]
    expected, found = run(source, array), run(source.with_name("net.int8.onnx"), array)
    assert 0 < np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_an_activation_of_several_layers_has_one_pair(source: Path) -> None:
    model = onnx.load(source)
    model.graph.node.insert(
        3, onnx.helper.make_node("Conv", ["relu", "body.weight"], ["twin"], name="twin", pads=[1] * 4)
    )
    model.graph.node[4].input[1] = "twin"
    model.graph.node.insert(4, onnx.helper.make_node("Add", ["twin", "body"], ["sum"], name="sum"))
    model.graph.node[5].input[1] = "sum"
    onnx.save(model, source)
    after, found = quantized(source)
    assert len(found.placement.layers) == 4
    # three activations, three weights, and what is added to the output of the first convolution
    assert sum(node.op_type == "QuantizeLinear" for node in after.graph.node) == 7


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"keep_fp32": ("^body$",)}, {"requested": ["body"], "output layers": ["head"]}),
        (
            {"spec": replace(SPEC, float_nodes=("^bo", "absent"))},
            {"named by the spec": ["body"], "output layers": ["head"]},
        ),
    ],
)
def test_what_the_user_or_the_spec_names_stays_float(source: Path, options: Any, kept: Any) -> None:
    _, found = quantized(source, **options)
    assert found.placement.kept == kept


def test_methods_cut_off_rare_values(source: Path) -> None:
    arrays = some(64)
    arrays[0][0, 0, 0, 0] = 50.0
    scales = {
        method: values_of(quantized(source, arrays, method=method)[0])["images_int8_scale"]
        for method in ("minmax", "percentile", "entropy")
    }
    assert scales["minmax"] == pytest.approx(50 / 127)
    assert 0.9 / 127 < scales["percentile"] < 1.2 / 127
    assert scales["entropy"] < 10 / 127


def test_batches_are_read_one_at_a_time(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In groups that fit a limit: with a limit of one byte, each activation alone, and the same thresholds."""
    whole = values_of(quantized(source, method="percentile")[0])
    monkeypatch.setattr("adaptrt.quantization.statistics._MOST_BYTES", 1)
    alone = values_of(quantized(source, method="percentile")[0])
    for name, value in whole.items():
        np.testing.assert_array_equal(value, alone[name])


@pytest.mark.parametrize("method", ["minmax", pytest.param("entropy", marks=pytest.mark.full)])
def test_memory_does_not_grow_with_the_number_of_images(source: Path, method: str) -> None:
    """While a batch is read, no more than the one before it is alive."""
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = []

    class Batch(np.ndarray):  # can be referred to weakly, and is hashed by identity
        __hash__ = object.__hash__

    def read(index: int) -> dict[str, Any]:
        most.append(len(alive))
        batch = np.random.default_rng(index).random((1, 3, SIDE, SIDE), np.float32).view(Batch)
        alive.add(batch)
        return {"images": batch}

    data = CalibrationData(count=100, batches=100, read=read, digest="a", title="arrays")
    quantized(source, data=data, method=method)
    assert len(most) == (100 if method == "minmax" else 200)
    assert max(most) <= 1


def test_progress_counts_the_batches_of_every_pass(source: Path) -> None:
    told: list[Any] = []
    quantized(source, some(3), method="percentile", progress=lambda *one: told.append(one))
    assert told == [(done, 6, "calibrate on arrays") for done in range(1, 7)]


def test_a_dead_activation_is_named_and_stays_float(tmp_path: Path) -> None:
    _, found = quantized(write_convnet(tmp_path / "net.onnx", dead=True))
    assert found.placement.kept["with a constant input"] == ["body", "mixer"]
    assert "2 activations have the same value on all calibration images (relu, flat)" in found.warnings[0]


def test_too_few_images_are_a_warning(source: Path) -> None:
    assert "calibrated on 5 images; fewer than 64" in quantized(source, some(5))[1].warnings[0]


def test_images_unlike_those_in_use_are_a_warning(source: Path) -> None:
    alike = quantized(source, data=data_of(some(64), probes=some(4, seed=9)))[1]
    assert alike.warnings == []
    dark = quantized(source, data=data_of(some(64, 0.05), probes=some(4)))[1]
    assert "exceed their calibrated range more than 2 times on other images (images ...)" in dark.warnings[0]


def test_the_cache_repeats_a_run_exactly_and_names_what_is_stale(source: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache.json"
    first, _ = quantized(source, cache=cache)
    kept = cache.read_bytes()

    def fails(index: int) -> Any:
        raise AssertionError("read again")

    data = replace(data_of(some(64)), read=fails)
    again, found = quantized(source, cache=cache, data=data)
    assert again == first
    assert found.notes[0] == f"int8: ranges from the calibration cache {cache} (64 images)"
    _, other = quantized(source, cache=cache, data=data_of(some(64, seed=3), digest="b"))
    assert other.warnings == [
        f"The calibration cache {cache} is stale (different images): calibrated again and replaced the file."
    ]
    assert cache.read_bytes() != kept
    _, other = quantized(source, cache=cache, data=data_of(some(64), digest="b"), method="percentile")
    assert "different method" in other.warnings[0]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        json.dumps({"key": {"graph": "", "images": "", "method": ""}, "ranges": {}, "thresholds": {}, "version": 9}),
    ],
)
def test_another_file_as_the_cache_is_refused(source: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "cache").write_text(content)
    with pytest.raises(UsageError, match="calibration cache"):
        quantized(source, cache=tmp_path / "cache")
    assert (tmp_path / "cache").read_text() == content


def test_graphs_that_cannot_be_quantized(source: Path, tmp_path: Path) -> None:
    quantized(source)
    with pytest.raises(UsageError, match="already has QuantizeLinear and DequantizeLinear nodes"):
        quantized(source.with_name("net.int8.onnx"))
    with pytest.raises(GraphError, match="has opset 12"):
        quantized(write_convnet(tmp_path / "old.onnx", opset=12))
    with pytest.raises(
        GraphError, match="has no layer to compute in int8 .0 layers in int8, float: 3 requested, 1 output layers"
    ):
        quantized(source, keep_fp32=("stem|body|mixer",))
    with pytest.raises(GraphError, match="is not finite on calibration batch 2"):
        quantized(source, [some(1)[0], np.full((1, 3, SIDE, SIDE), np.inf, np.float32)])
    with pytest.raises(GraphError, match="failed on a calibration batch"):
        quantized(source, [np.zeros((1, 5, SIDE, SIDE), np.float32)])
