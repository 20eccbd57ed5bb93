"""Conversions with ``--embed-preprocess``: files that take pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adaptrt
from adaptrt import Report, UsageError
from adaptrt.pipeline.embedding import embedded_spec, network_spec
from adaptrt.pipeline.reference import Origin, load_reference

pytestmark = pytest.mark.usefixtures("tiny")


def convert(net: str = "detector", **options: Any) -> Report:
    wanted = {"to": "onnx", "options": {"conf": 0.05}, "embed_preprocess": True, **options}
    return adaptrt.convert(net, adapter="tiny", html=False, **wanted)


def same_predictions(first: Path | None, other: Path | None, images: list[Any]) -> int:
    assert first is not None
    assert other is not None
    with adaptrt.load(first) as one, adaptrt.load(other) as two:
        pairs = list(zip(one(images), two(images), strict=True))
    for expected, actual in pairs:
        np.testing.assert_array_equal(actual.labels, expected.labels)
        np.testing.assert_allclose(actual.boxes, expected.boxes, atol=1e-3)
        np.testing.assert_allclose(actual.scores, expected.scores, atol=1e-5)
    return sum(len(actual) for _, actual in pairs)


def test_predictions_are_those_of_the_file_without(image: Path) -> None:
    embedded = convert(output="pixels.onnx", image=image)
    assert embedded.spec is not None
    assert [link.status for link in embedded.links] == ["passed", "passed", "passed", "not run", "not run", "passed"]
    assert "preprocessing in the graph identical to NumPy" in [check.name for check in embedded.link(2).checks]
    tensor = embedded.spec.input("images")
    assert tensor.dtype == "uint8"
    assert [dim.opt for dim in tensor.dims] == [2, 64, 64, 3]
    raw = convert(output="raw.onnx", verify="none", embed_preprocess=False)
    other = np.random.default_rng(0).integers(0, 256, (30, 77, 3), np.uint8)
    assert same_predictions(raw.onnx, embedded.onnx, [image, other, image]) > 3


@pytest.mark.full
def test_nms_dynamic_size_and_half_precision(image: Path) -> None:
    raw = convert(output="raw.onnx", verify="none", embed_preprocess=False, nms=True, dynamic="batch,hw")
    wanted = {"nms": True, "dynamic": "batch,hw", "precision": "fp16", "target": "10", "image": image}
    embedded = convert(output="pixels.onnx", **wanted)
    assert {link.status for link in embedded.links} <= {"passed", "not run"}
    assert embedded.link(5).status == "passed"
    assert same_predictions(raw.onnx, embedded.onnx, [image, image]) > 3
    half = next(path for path in Path.cwd().glob("pixels*.fp16.onnx"))
    with adaptrt.load(half) as model:
        assert len(model(image)[0]) > 0


@pytest.mark.full
def test_the_file_builds_and_compares_as_others_do(image: Path) -> None:
    embedded = convert(output="pixels.onnx", image=image)
    assert embedded.onnx is not None
    built = adaptrt.build(
        embedded.onnx, to="onnx", precision="fp16", target="10", imgsz=64, output="again.onnx", image=image, html=False
    )
    assert built.spec is not None
    assert built.spec.image is not None
    assert built.spec.image.embedded
    assert built.link(3).status == "passed"


@pytest.mark.full
def test_the_source_model_takes_the_values_of_its_network(image: Path) -> None:
    embedded = convert(output="pixels.onnx", image=image)
    assert embedded.onnx is not None
    origin = Origin("tiny", "detector", None, {}, False)
    with adaptrt.load(embedded.onnx) as model:
        (expected,) = load_reference(embedded.onnx, origin)(image)
        (actual,) = model(image)
    assert len(actual) > 0
    np.testing.assert_allclose(actual.boxes, expected.boxes, atol=1e-3)


@pytest.mark.full
def test_a_classifier(image: Path) -> None:
    embedded = convert("classifier", output="pixels.onnx", image=image, options={})
    assert embedded.link(2).status == embedded.link(5).status == "passed"


def test_preprocessing_that_a_graph_cannot_repeat_is_refused() -> None:
    with pytest.raises(UsageError, match="no image input"):
        convert("two_inputs", options={})
    spec = adaptrt.ModelSpec(
        inputs=(adaptrt.InputSpec.image(64, 64),), image=adaptrt.ImageTransform(pad=None, mean=(0.5,))
    )
    with pytest.raises(UsageError, match="no pixel value becomes zero"):
        embedded_spec(spec)
    assert spec.image is not None
    zeros = embedded_spec(replace(spec, image=replace(spec.image, mean=(0.0,))))
    assert zeros.image is not None
    assert zeros.image.pad == 0
    assert network_spec(zeros).inputs == spec.inputs
