"""``adaptrt predict`` and ``evaluate`` with a model that gives each pixel a class; predictions in every format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptrt.specs import METADATA_KEY, DecoderSpec, Dim, ImageTransform, InputSpec, ModelSpec, OutputSpec

onnx = pytest.importorskip("onnx", reason="a network is made of a node")
pytest.importorskip("onnxruntime", reason="it runs the network")
Image = pytest.importorskip("PIL.Image", reason="masks are read by Pillow")

SPEC = ModelSpec(
    inputs=(InputSpec.image(32, 32, batch=Dim(1, 2, 4, "batch")),),
    outputs=(OutputSpec("logits", ("batch", 3, 32, 32)),),
    task="semantic",
    image=ImageTransform(resize="stretch", interpolation="nearest"),
    decoder=DecoderSpec("semantic"),
    labels=("background", "red", "blue"),
)
WEIGHTS = [[0, 0, 0], [8, -8, -8], [-8, -8, 8]]  # a pixel of pure color wins against the background's bias


@pytest.fixture
def segmenter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working folder with ``net.onnx`` and two images with masks, in ``val``."""
    monkeypatch.chdir(tmp_path)
    helper = onnx.helper
    weights = onnx.numpy_helper.from_array(np.array(WEIGHTS, np.float32).reshape(3, 3, 1, 1), "weights")
    bias = onnx.numpy_helper.from_array(np.array([1, 0, 0], np.float32), "bias")
    tensors = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 3, 32, 32])
        for name in ("images", "logits")
    ]
    node = helper.make_node("Conv", ["images", "weights", "bias"], ["logits"], kernel_shape=[1, 1])
    graph = helper.make_graph([node], "net", tensors[:1], tensors[1:], [weights, bias])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {METADATA_KEY: SPEC.to_json()})
    onnx.save(model, "net.onnx")
    for folder in ("images", "masks"):
        Path("val", folder).mkdir(parents=True)
    for number, label in enumerate((1, 2)):
        mask = np.zeros((64, 96), np.uint8)
        mask[16:48, 24:72] = label
        pixels = np.zeros((64, 96, 3), np.uint8)
        pixels[mask == label] = ((255, 0, 0), (0, 0, 255))[number]
        Image.fromarray(pixels).save(f"val/images/{number}.png")
        Image.fromarray(mask).save(f"val/masks/{number}.png")
    return tmp_path / "net.onnx"


def test_a_map_is_drawn_described_and_saved(segmenter: Path, adaptrt: Callable[..., Any]) -> None:
    result = adaptrt("predict", segmenter, "val/images", "--save", "png", "--save", "csv")
    assert result.code == 0, result.err
    assert "0.png: background 7" in result.out
    assert ", red 2" in result.out
    drawn, image = (np.array(Image.open(path)) for path in ("predictions/0.png", "val/images/0.png"))
    assert drawn.shape == image.shape
    assert (np.abs(drawn[20:44, 30:66].astype(int) - image[20:44, 30:66]).max(-1) > 40).all()
    for number in range(2):
        same = np.array(Image.open(f"predictions/png/{number}.png")) == np.array(Image.open(f"val/masks/{number}.png"))
        assert same.mean() > 0.9
    assert len(Path("predictions/csv/predictions.csv").read_text().splitlines()) == 5
    assert result.out.splitlines()[-1].startswith("Written: predictions/png/0.png, predictions/png/1.png, ")


def test_areas_as_data(segmenter: Path, adaptrt: Callable[..., Any]) -> None:
    found = adaptrt("predict", segmenter, "val/images/1.png", "--json").json["images"][0]
    assert [(row["label"], row["class"]) for row in found["areas"]] == [("background", 0), ("blue", 2)]
    assert sum(row["pixels"] for row in found["areas"]) == found["height"] * found["width"]
    assert not Path("predictions").exists()


def test_a_format_that_the_task_has_not(segmenter: Path, adaptrt: Callable[..., Any]) -> None:
    result = adaptrt("predict", segmenter, "val/images", "--save", "coco")
    assert result.code == 2
    assert "--save coco: task 'semantic' does not support this format." in result.err
    assert "Available: csv, json, png" in result.err
    assert not Path("predictions").exists()


def test_nothing_that_is_read_is_overwritten(segmenter: Path, adaptrt: Callable[..., Any]) -> None:
    Path("out/png").mkdir(parents=True)
    Path("val/images/0.png").rename("out/png/0.png")
    before = Path("out/png/0.png").read_bytes()
    result = adaptrt("predict", segmenter, "out/png/0.png", "-o", "out", "--save", "png")
    assert result.code == 2
    assert "would overwrite the input" in result.err
    assert Path("out/png/0.png").read_bytes() == before


def test_it_is_scored(segmenter: Path, adaptrt: Callable[..., Any]) -> None:
    result = adaptrt("evaluate", segmenter, "--data", "val", "--show-dir", "shown")
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[0].split()[2:6] == ["mIoU", "pixel", "accuracy", "agrees"]
    assert [line.split()[0] for line in lines if line.startswith(("class", "background", "red", "blue"))] == [
        "class", "background", "red", "blue",
    ]  # fmt: skip
    data = adaptrt("evaluate", segmenter, "--data", "val", "--json").json["results"][0]
    assert data["scores"]["mIoU"] > 0.8
    assert data["per_class"]["red"]["pixels"] == 32 * 48
    assert sorted(path.name for path in Path("shown/net.onnxruntime").iterdir()) == ["0.jpg", "1.jpg"]


def test_predictions_as_a_file(segmenter: Path, adaptrt: Callable[..., Any]) -> None:
    result = adaptrt("evaluate", segmenter, "--data", "val", "--format-only", "maps.json")
    assert result.code == 0, result.err
    records = json.loads(Path("maps.json").read_text())
    assert [record["mask"] for record in records] == ["0.png", "1.png"]
    from adaptrt.specs import task_named

    assert task_named("semantic").read_record(records[0]).labels.shape == (64, 96)
