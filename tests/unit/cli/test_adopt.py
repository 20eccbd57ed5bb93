"""Model files from elsewhere: recognized, described by the user, adopted; data sets as Ultralytics writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="makes the files")
pytest.importorskip("onnxruntime", reason="runs them")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from adaptrt.onnxfile.reader import read_onnx  # noqa: E402
from adaptrt.pipeline.adopt import recognize  # noqa: E402
from adaptrt.specs.runners import TensorInfo  # noqa: E402

ULTRALYTICS = {"names": "{0: 'cat', 1: 'dog'}", "stride": "32", "task": "detect", "imgsz": "[32, 32]"}
# cx cy w h, cat, dog: a cat, the same cat again, a dog
ROWS = np.array([[8, 8, 8, 8, 0.9, 0], [8.5, 8, 8, 8, 0.8, 0], [24, 20, 10, 16, 0, 0.7]], np.float32)


def write(
    path: Path, values: dict[str, np.ndarray], metadata: dict[str, str] | None = None, *, side: int | str = 32
) -> Path:
    """A network with these outputs, whatever it sees; batch 1."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0, axes=[0, 1, 2, 3]),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
    ]
    constants = [numpy_helper.from_array(np.array(0, np.float32), "zero")]
    outputs = []
    for name, value in values.items():
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        constants.append(numpy_helper.from_array(value.astype(np.float32), f"{name}_value"))
        nodes += [
            helper.make_node("Add", [f"{name}_value", "nothing"], [f"{name}_float"]),
            helper.make_node("Cast", [f"{name}_float"], [name], to=kind),
        ]
        outputs.append(helper.make_tensor_value_info(name, kind, value.shape))
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, side, side])
    graph = helper.make_graph(nodes, "net", [image], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, str(path))
    return path


def dense() -> dict[str, np.ndarray]:
    return {"output0": ROWS.T[None].copy()}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "images"
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "one.png"), np.full((64, 64, 3), 90, np.uint8))
    return folder / "one.png"


def found(result: Any) -> list[tuple[str, list[float]]]:
    assert result.code == 0, result.err
    return [(one["label"], one["box"]) for one in result.json["images"][0]["detections"]]


CAT, DOG = ("cat", [8.0, 8.0, 24.0, 24.0]), ("dog", [38.0, 24.0, 58.0, 56.0])


def test_ultralytics_metadata_is_enough(adaptrt: Callable[..., Any], tmp_path: Path, photo: Path) -> None:
    result = adaptrt("predict", write(tmp_path / "any.onnx", dense(), ULTRALYTICS), photo, "--json")
    assert found(result) == [CAT, DOG]
    assert "any.onnx was not written by adaptrt: decoder yolo, from metadata of Ultralytics" in result.err


def test_what_the_user_says(adaptrt: Callable[..., Any], tmp_path: Path, photo: Path) -> None:
    file = write(tmp_path / "any.onnx", dense(), side="side")
    refused = adaptrt("predict", file, photo)
    assert refused.code == 4
    assert "--decoder yolo" in refused.err
    sizeless = adaptrt("predict", file, photo, "--decoder", "yolo")
    assert "--imgsz 640" in sizeless.err
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    said = ("--decoder", "yolo", "--imgsz", "32", "--names", tmp_path / "names.txt")
    assert found(adaptrt("predict", file, photo, *said, "--json")) == [CAT, DOG]
    assert found(adaptrt("predict", file, photo, *said, "--json", "--set", "conf=0.75")) == [CAT]


def test_adopted_files_need_nothing(adaptrt: Callable[..., Any], tmp_path: Path, photo: Path) -> None:
    file = write(tmp_path / "any.onnx", dense(), ULTRALYTICS)
    better = tmp_path / "better.onnx"
    result = adaptrt("adopt", file, "-o", better, "--set", "conf=0.75")
    assert "decoder yolo (from metadata of Ultralytics), 2 classes, images 32 x 32" in result.out
    assert found(adaptrt("predict", better, photo, "--json")) == [CAT]
    kept = read_onnx(better).metadata
    assert {name: kept[name] for name in ULTRALYTICS} == ULTRALYTICS
    assert adaptrt("adopt", better, "-o", tmp_path / "again.onnx").code == 2
    own = adaptrt("predict", better, photo, "--decoder", "yolo")
    assert "a spec of its own" in own.err
    assert adaptrt("adopt", file, "-o", file).code == 2


def test_a_decoder_that_does_not_fit_is_refused(adaptrt: Callable[..., Any], tmp_path: Path) -> None:
    file = write(tmp_path / "any.onnx", dense(), ULTRALYTICS)
    result = adaptrt("adopt", file, "-o", tmp_path / "x.onnx", "--decoder", "yolo_anchor")
    assert result.code == 4
    assert "use decoder 'yolo'" in result.err
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.parametrize(
    "names",
    [
        ("num_dets", "det_boxes", "det_scores", "det_classes"),
        ("num_detections", "detection_boxes", "detection_scores", "detection_classes"),
    ],
)
def test_outputs_of_efficient_nms(
    adaptrt: Callable[..., Any], tmp_path: Path, photo: Path, names: tuple[str, ...]
) -> None:
    values = (
        np.array([[1]], np.int32),
        np.array([[[4, 4, 12, 12], [0, 0, 0, 0]]], np.float32),
        np.array([[0.9, 0]], np.float32),
        np.array([[0, 0]], np.int32),
    )
    file = write(tmp_path / "ended.onnx", dict(zip(names, values, strict=True)))
    result = adaptrt("predict", file, photo, "--json")
    assert found(result) == [("0", CAT[1])]


def shape(*sizes: int | str) -> TensorInfo:
    return TensorInfo("output0", "float32", sizes)


@pytest.mark.parametrize(
    ("outputs", "metadata", "decoder"),
    [
        ([shape(1, 6, 100)], {}, "yolo"),
        ([shape("batch", 100, 7)], {}, "yolo_anchor"),
        ([shape(1, 300, 6)], {}, "yolo_end2end"),
        ([shape(1, 38, 100), shape(1, 32, 8, 8)], {"task": "segment"}, "yolo_segment"),
        ([shape(1, 57, 100)], {"task": "pose", "kpt_shape": "[17, 3]"}, "yolo_pose"),
        ([shape(1, 7, 100)], {"task": "obb"}, "yolo_obb"),
        ([shape(1, 2)], {"task": "classify"}, "classify"),
        ([shape(1, 9, 100)], {}, None),
        ([shape(1, 6, 100)], {"task": "track"}, None),
        ([shape(1, 6, 100)], {"names": "{0: 'a', 5: 'b'}"}, None),
        ([shape(1, 6, 100)], {"names": "[" * 50_000}, None),
        ([shape(1, 6, 100)], {"names": "__import__('os').system('true')"}, None),
    ],
)
def test_what_is_recognized(outputs: list[TensorInfo], metadata: dict[str, str], decoder: str | None) -> None:
    assert recognize(outputs, {**ULTRALYTICS, **metadata}).decoder == decoder


def test_scores_on_a_data_yaml(adaptrt: Callable[..., Any], tmp_path: Path, photo: Path) -> None:
    pytest.importorskip("faster_coco_eval", reason="counts mAP")
    labels = photo.parent.parent / "labels"
    labels.mkdir()
    dog = "1 0.59375 0.375 0.90625 0.375 0.90625 0.875 0.59375 0.875"  # a polygon
    (labels / "one.txt").write_text(f"0 0.25 0.25 0.25 0.25\n{dog}\n")
    data = photo.parent.parent / "data.yaml"
    data.write_text("path: .\nval: images\nnames:\n  0: cat\n  1: dog\n")
    file = write(tmp_path / "any.onnx", dense(), ULTRALYTICS)
    result = adaptrt("evaluate", file, "--data", data, "--json")
    assert result.code == 0, result.err
    assert '"mAP": 1.0' in result.out
    (labels / "one.txt").write_text("7 0.25 0.25 0.25 0.25\n")
    assert "one.txt, line 1: class 7 has no name" in adaptrt("evaluate", file, "--data", data).err
    data.write_text("val: images\n")
    assert "no list of class names" in adaptrt("evaluate", file, "--data", data).err
    data.write_text("a: [\n")
    assert "not valid YAML" in adaptrt("evaluate", file, "--data", data).err


@pytest.mark.parametrize(
    ("output", "written"),
    [("new/copy.onnx", "new/copy.onnx"), ("folder", "folder/any.onnx"), ("copy.engine", ""), ("any.onnx", "")],
)
def test_where_the_copy_goes(output: str, written: str, adaptrt: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    source = write(tmp_path / "any.onnx", dense(), ULTRALYTICS)
    before = source.read_bytes()
    result = adaptrt("adopt", source, "-o", tmp_path / output, "--decoder", "yolo")
    assert result.code == (0 if written else 2), result.err
    if written:
        assert read_onnx(tmp_path / written).spec is not None
    else:
        assert ("is an ONNX file" if output.endswith(".engine") else "is FILE itself") in result.err
    assert source.read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_no_rounds_are_too_few(adaptrt: Callable[..., Any]) -> None:
    result = adaptrt("convert", "--adapter", "torch", "module:net", "--nms", "--nms-rounds", 0, "--dry-run")
    assert result.code == 2
    assert "--nms-rounds must be between 1 and 1000; got 0." in result.err
