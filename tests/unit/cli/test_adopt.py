"""Model files from elsewhere: recognized, described by the user, adopted; data sets as Ultralytics writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="makes the files")
pytest.importorskip("onnxruntime", reason="runs them")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from adaptrt import OutputSpec  # noqa: E402
from adaptrt.onnxfile.reader import read_onnx  # noqa: E402
from adaptrt.pipeline.adopt import adopt_spec, read_as, recognize  # noqa: E402
from adaptrt.specs.adoption import Adoption  # noqa: E402
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
    assert "already has a spec" in own.err
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


DETS = np.array([[[4, 4, 12, 12, 0.9], [10, 2, 20, 30, 0.6], [0, 0, 0, 0, 0]]], np.float32)
LABELS = np.array([[0, 1, -1]], np.int64)
STEPS = [
    {"type": "LoadImageFromFile"},
    {"type": "Resize", "keep_ratio": False, "size": [32, 32]},
    {"type": "Normalize", "to_rgb": False, "mean": [1, 2, 3], "std": [4, 5, 6]},
    {"type": "Pad", "size_divisor": 1},
    {"type": "DefaultFormatBundle"},
    {"type": "Collect", "keys": ["img"]},
]


def deployed(
    folder: Path,
    values: dict[str, np.ndarray],
    steps: list[dict[str, Any]],
    net: str = "end2end.onnx",
    task: str = "Detector",
    head: str = "LinearClsHead",
) -> Path:
    """What MMDeploy leaves in its work folder."""
    folder.mkdir(exist_ok=True)
    tasks = [
        {"type": "Task", "module": "Transform", "name": "Preprocess", "transforms": steps},
        {"type": "Task", "module": "Net", "name": "maskrcnn"},
        {
            "type": "Task",
            "module": "mmdet",
            "name": "postprocess",
            "component": head,
            "params": {"mask_thr_binary": 0.4, "topk": 2},
        },
    ]
    (folder / "pipeline.json").write_text(json.dumps({"pipeline": {"input": ["img"], "tasks": tasks}}))
    (folder / "deploy.json").write_text(json.dumps({"version": "1.3.1", "task": task, "models": [{"net": net}]}))
    return write(folder / "end2end.onnx", values)


def test_files_of_mmdeploy(adaptrt: Callable[..., Any], tmp_path: Path, photo: Path) -> None:
    file = deployed(tmp_path / "work", {"dets": DETS, "labels": LABELS}, STEPS)
    result = adaptrt("predict", file, photo, "--json")
    assert found(result) == [("0", CAT[1]), ("1", [20.0, 4.0, 40.0, 60.0])]
    assert "decoder mmdeploy, from MMDeploy's pipeline.json" in result.err
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    assert adaptrt("adopt", file, "-o", tmp_path / "better.onnx", "--names", tmp_path / "names.txt").code == 0
    spec = read_onnx(tmp_path / "better.onnx").spec
    assert spec is not None
    assert spec.image is not None
    image = spec.image
    assert (image.resize, image.colors, image.scale, image.pad) == ("stretch", "bgr", 1.0, None)
    assert (image.mean, image.std) == ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    assert found(adaptrt("predict", tmp_path / "better.onnx", photo, "--json", "--set", "conf=0.7")) == [CAT]
    if pytest.importorskip("faster_coco_eval", reason="counts mAP"):
        labels = photo.parent.parent / "labels"
        labels.mkdir()
        (labels / "one.txt").write_text("0 0.25 0.25 0.25 0.25\n")
        data = photo.parent.parent / "data.yaml"
        data.write_text("path: .\nval: images\nnames:\n  0: cat\n  1: dog\n")
        scored = adaptrt("evaluate", file, "--data", data, "--names", tmp_path / "names.txt", "--json")
        assert scored.code == 0, scored.err
        assert '"mAP": 1.0' in scored.out


def test_masks_of_mmdeploy(adaptrt: Callable[..., Any], tmp_path: Path, photo: Path) -> None:
    """Small masks of boxes, and masks of the whole input: the left half of each object."""
    small, whole = np.zeros((1, 3, 4, 4), np.float32), np.zeros((1, 3, 32, 32), np.float32)
    small[:, :, :, :2] = 0.8
    whole[0, 0, 4:12, 4:8] = whole[0, 1, 2:30, 10:15] = 1
    areas = []
    for name, masks in (("small", small), ("whole", whole)):
        file = deployed(tmp_path / name, {"dets": DETS, "labels": LABELS, "masks": masks}, STEPS)
        result = adaptrt("predict", file, photo, "--save", "json", "-o", tmp_path / f"{name}-out", "--json")
        assert result.code == 0, result.err
        import adaptrt as api

        (prediction,) = api.load(file)(photo)
        assert api.load(file).spec.decoder.params["mask_threshold"] == 0.4
        areas.append([mask.area for mask in prediction.masks])
        np.testing.assert_allclose(prediction.boxes, [[8, 8, 24, 24], [20, 4, 40, 60]])
    halves = [16 * 8, 56 * 10]
    for found_areas in areas:
        np.testing.assert_allclose(found_areas, halves, rtol=0.15)


def test_what_mmdeploy_leaves_open(adaptrt: Callable[..., Any], tmp_path: Path, photo: Path) -> None:
    values = {"dets": DETS, "labels": LABELS}
    alone = write(tmp_path / "alone.onnx", values)
    assert "pipeline.json that says how images are prepared" in adaptrt("predict", alone, photo).err
    other = deployed(tmp_path / "other", values, STEPS, net="another.onnx")
    assert "pipeline.json that says how images are prepared" in adaptrt("predict", other, photo).err
    strange = deployed(tmp_path / "strange", values, [*STEPS, {"type": "Rot90"}])
    assert "its step 'Rot90' is not known here" in adaptrt("predict", strange, photo).err
    later = deployed(tmp_path / "later", values, [*STEPS, {"type": "Pad", "pad_val": {"img": [114, 114, 114]}}])
    assert "Pad follows Normalize" in adaptrt("predict", later, photo).err
    (tmp_path / "later" / "pipeline.json").write_text("{")
    assert "not valid JSON" in adaptrt("predict", later, photo).err
    assert found(adaptrt("predict", alone, photo, "--json", "--decoder", "mmdeploy"))[0][1] == CAT[1]


ROTATED = np.array(
    [[[8, 8, 8, 4, np.pi / 2, 0.9], [15, 16, 10, 28, 0, 0.6], [0, 0, 0, 0, 0, 0]]], np.float32
)  # a standing box written as a turned one, an upright one, padding


def test_rotated_boxes_of_mmdeploy(adaptrt: Callable[..., Any], tmp_path: Path, photo: Path) -> None:
    """With its files, and alone with ``--decoder``; adopted; the decoder of upright boxes names the right one."""
    values = {"dets": ROTATED, "labels": LABELS}
    upright = [[12.0, 8.0, 20.0, 24.0], [20.0, 4.0, 40.0, 60.0]]
    file = deployed(tmp_path / "work", values, STEPS, task="RotatedDetector")
    alone = write(tmp_path / "alone.onnx", values)
    assert adaptrt("adopt", alone, "-o", tmp_path / "better.onnx", "--decoder", "mmdeploy_obb").code == 0
    for arguments in ((file,), (alone, "--decoder", "mmdeploy_obb"), (tmp_path / "better.onnx",)):
        result = adaptrt("predict", arguments[0], photo, "--json", *arguments[1:])
        np.testing.assert_allclose([box for _, box in found(result)], upright, atol=1e-3)
    import adaptrt as api

    (prediction,) = api.load(file)(photo)
    np.testing.assert_allclose(prediction.rotated[0], [16, 16, 16, 8, np.pi / 2], atol=1e-5)
    assert adaptrt("predict", alone, photo).code == 4  # how images are prepared is not known
    wrong = adaptrt("predict", alone, photo, "--decoder", "mmdeploy")
    assert "expects dets [B, N, 5]" in wrong.err
    assert "--decoder mmdeploy_obb" in wrong.err


PROBABILITIES = np.array([[0.1, 0.7, 0.2]], np.float32)


def test_a_classifier_alone(adaptrt: Callable[..., Any], tmp_path: Path, photo: Path) -> None:
    """MMDeploy's classifiers return probabilities."""
    alone = write(tmp_path / "alone.onnx", {"output": PROBABILITIES})
    said = ("--decoder", "classify", "--set", "probabilities=true")
    assert adaptrt("adopt", alone, "-o", tmp_path / "better.onnx", *said).code == 0
    import adaptrt as api

    (prediction,) = api.load(tmp_path / "better.onnx")(photo)
    assert prediction.labels.tolist() == [1, 2, 0]
    np.testing.assert_allclose(prediction.scores, [0.7, 0.2, 0.1], atol=1e-6)
    assert adaptrt("predict", alone, photo, *said, "--json").code == 0


EDGE = [
    {"type": "LoadImageFromFile"},
    {"type": "Resize", "keep_ratio": True, "size": [40, -1]},
    {"type": "CenterCrop", "crop_size": 32},
    {"type": "Normalize", "mean": [1, 2, 3], "std": [4, 5, 6], "to_rgb": True},
    {"type": "ImageToTensor", "keys": ["img"]},
    {"type": "Collect", "keys": ["img"]},
]


def test_a_classifier_of_mmdeploy(adaptrt: Callable[..., Any], tmp_path: Path, photo: Path) -> None:
    """The shorter side is resized, the middle is cut: as its files say."""
    import adaptrt as api

    file = deployed(tmp_path / "work", {"output": PROBABILITIES}, EDGE, task="Classifier")
    assert adaptrt("adopt", file, "-o", tmp_path / "better.onnx").code == 0
    for path in (file, tmp_path / "better.onnx"):
        model = api.load(path)
        assert model.spec.decoder is not None
        assert model.spec.decoder.params == {"top_k": 2, "probabilities": True}
        image = model.spec.image
        assert image is not None
        assert (image.resize, image.crop_fraction, image.colors, image.mean) == ("crop", 0.8, "rgb", (1.0, 2.0, 3.0))
        (prediction,) = model(photo)
        assert prediction.labels.tolist() == [1, 2]
        np.testing.assert_allclose(prediction.scores, [0.7, 0.2], atol=1e-6)


@pytest.mark.parametrize(
    ("task", "steps", "head", "words"),
    [
        ("Segmentor", EDGE, "ResizeMask", "is semantic segmentation of MMDeploy"),
        ("Classifier", EDGE, "MultiLabelLinearClsHead", "a multi-label classifier"),
        ("Classifier", EDGE[:2] + EDGE[3:], "LinearClsHead", "only a resize of the shorter side, and a CenterCrop"),
        ("Classifier", EDGE[:1] + EDGE[2:], "LinearClsHead", "only a resize of the shorter side, and a CenterCrop"),
        (
            "Classifier",
            [*EDGE[:2], {"type": "CenterCrop", "crop_size": 28}, *EDGE[3:]],
            "LinearClsHead",
            "requires images of 32 x 32, but the pipeline.json beside it crops them to 28 x 28",
        ),
    ],
)
def test_what_mmdeploy_says_of_other_models(
    task: str,
    steps: list[dict[str, Any]],
    head: str,
    words: str,
    adaptrt: Callable[..., Any],
    tmp_path: Path,
    photo: Path,
) -> None:
    file = deployed(tmp_path, {"output": PROBABILITIES}, steps, task=task, head=head)
    result = adaptrt("predict", file, photo)
    assert result.code == 4
    assert words in result.err


@pytest.mark.parametrize(("crop", "short"), [(224, 256), (224, 236), (480, 512), (7, 9), (49, 50)])
def test_the_shorter_side_is_that_of_the_pipeline(crop: int, short: int, tmp_path: Path) -> None:
    from adaptrt.pipeline.mmdeploy import read_deployed
    from adaptrt.vision.placement import place

    steps = [{"type": "Resize", "size": [short, -1]}, {"type": "CenterCrop", "crop_size": [crop, crop]}]
    read = read_deployed(deployed(tmp_path, {"output": PROBABILITIES}, steps, task="Classifier"))
    assert read is not None
    assert read.size == (crop, crop)
    assert place((600, 900), read.image, read.size).inner == (short, short * 900 // 600)


@pytest.mark.parametrize(
    ("steps", "fields"),
    [
        (
            [{"type": "Resize", "keep_ratio": True, "size": [1333, 800]}, {"type": "Normalize", "mean": [0] * 3, "std": [1] * 3}, {"type": "Pad"}],
            {"resize": "letterbox", "center": False, "colors": "rgb", "pad": None},
        ),
        (
            [{"type": "Resize", "keep_ratio": True, "size": 640}, {"type": "Pad", "pad_val": {"img": [114] * 3}}],
            {"resize": "letterbox", "pad": 114, "scale": 1.0},
        ),
    ],
)  # fmt: skip
def test_pipelines_of_mmdeploy(steps: list[dict[str, Any]], fields: dict[str, Any], tmp_path: Path) -> None:
    from adaptrt.pipeline.mmdeploy import read_deployed

    read = read_deployed(deployed(tmp_path, {"dets": DETS, "labels": LABELS}, steps))
    assert read is not None
    assert {name: getattr(read.image, name) for name in fields} == fields
    assert read.size in ((800, 1333), (640, 640))


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
    assert [note for note in result.json["notes"] if "any.onnx was not written by adaptrt: decoder yolo" in note]
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
        assert ("is an ONNX file" if output.endswith(".engine") else "-o would overwrite the input") in result.err
    assert source.read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_no_rounds_are_too_few(adaptrt: Callable[..., Any]) -> None:
    result = adaptrt("convert", "--adapter", "torch", "module:net", "--nms", "--nms-rounds", 0, "--dry-run")
    assert result.code == 2
    assert "NMS rounds must be between 1 and 1000; got 0." in result.err


@pytest.mark.parametrize(
    ("decoder", "shapes", "labels", "said"),
    [
        ("yolo", [(1, 84, 8400)], 0, "which reads 8400 boxes and 80 classes"),
        ("yolo", [("batch", 300, 6)], 0, "which reads 6 boxes and 296 classes: if these are too few boxes, specify another decoder"),
        ("yolo_anchor", [(1, 25200, 6)], 1, "which reads 25200 boxes and 1 class"),
        ("yolo_segment", [(1, 25200, 117), (1, 32, 160, 160)], 0, "which reads 25200 boxes and 80 classes"),
        ("yolo_segment", [(1, 116, 8400), (1, 32, 160, 160)], 80, "which reads 8400 boxes and 80 classes"),
        ("yolo_end2end", [(1, 300, 6)], 0, "from --decoder"),
        ("yolo", [(1, 84, "boxes")], 0, "from --decoder"),
    ],
)  # fmt: skip
def test_what_a_decoder_reads_is_said(decoder: str, shapes: list[Any], labels: int, said: str) -> None:
    """A decoder for another layout can read nonsense: [B, 300, 6] as 6 boxes of 296 classes."""
    outputs = [OutputSpec(f"output{index}", shape) for index, shape in enumerate(shapes)]
    tensors = [SimpleNamespace(name=one.name, dtype="float32", shape=one.dims) for one in outputs]
    image = SimpleNamespace(name="images", dtype="float32", shape=("batch", 3, 640, 640))
    adoption = Adoption(decoder, names=tuple(map(str, range(labels))))
    spec, source = adopt_spec("any.onnx", [image], tensors, {}, adoption)
    assert read_as(spec, source).endswith(said)
    if decoder == "yolo_segment":
        assert spec.decoder is not None
        assert spec.decoder.params["rows"] == ("anchor" if shapes[0][1] > shapes[0][2] else "dense")
