"""Segmentation, pose, rotated boxes and end-to-end heads, against Ultralytics' own predictions on images full of objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import adaptrt
from adaptrt import Conversion, Request
from adaptrt.specs import precision_named, task_named

SHAPE_ARITHMETIC = {"Shape", "Gather", "Range", "Expand", "ScatterND", "NonZero", "ConstantOfShape", "Size"}
IMAGES, OBJECTS, CLASSES = 4, 10, 3
SIZE = 320


@pytest.fixture(scope="session")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Held-out images with many objects of every class."""
    import cv2
    import draw_shapes

    folder = tmp_path_factory.mktemp("crowded")
    paths = []
    for index in range(IMAGES):
        look = replace(draw_shapes.DETECTION, objects=(15, 18), radius=(0.06, 0.13))
        image = draw_shapes.draw_detection_image(1002, index, look)
        paths.append(folder / f"{index}.png")
        cv2.imwrite(str(paths[-1]), image.image)
    return paths


@pytest.fixture(scope="session")
def task_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The trained network of a task; ``segment-end2end`` has the end-to-end head."""
    import shapes_models

    folder = tmp_path_factory.mktemp("tasks")

    def make(name: str) -> Path:
        path = folder / f"{name}.pt"
        task, _, branch = name.partition("-")
        return path if path.is_file() else shapes_models.write_checkpoint(task, path, end2end=branch == "end2end")

    return make


def compare(ours: list[Any], theirs: list[Any], spec: adaptrt.ModelSpec) -> None:
    """As strict as float32 is in links 0 and 5, and only if there was enough to compare."""
    assert len(ours) == len(theirs) == IMAGES
    for side in (ours, theirs):
        assert min(len(found) for found in side) >= OBJECTS
        assert len({int(label) for found in side for label in found.labels}) >= CLASSES
    for metric in task_named(spec.task).metrics(spec, precision_named("fp32")):
        assert metric.minimum is not None
        assert metric.compute(theirs, ours) >= metric.minimum, metric.name


def check(
    checkpoint: Path, images: list[Path], output: Path, runs: Any = None, *, may_skip: bool = False, **options: Any
) -> adaptrt.Report:
    """Convert, then compare our file with the framework's network, and with the framework running our file (class ``runs``).

    ``may_skip``: on some processors, rounding errors decide about what the network selects in every sample of link 2.
    """
    from ultralytics import YOLO

    from adaptrt_ultralytics.framework import converted, ultralytics_predictions
    from adaptrt_ultralytics.load import load_new

    report = adaptrt.convert(
        checkpoint, adapter="yolo", output=output, image=images[0], imgsz=SIZE, verify="quick", html=False, **options
    )
    assert report.spec is not None
    assert [report.link(number).status for number in (0, 1, 5)] == ["passed"] * 3
    skipped = may_skip and "every sample skipped: perturbing the input" in (report.link(2).reason or "")
    assert report.link(2).status == ("not run" if skipped else "passed"), report.link(2).reason
    if runs is None:  # RT-DETR selects its queries with Gather
        assert not SHAPE_ARITHMETIC & set(report.operators["final"])
    ours = adaptrt.load(output)(images)
    ctx = Conversion(Request(str(checkpoint), "yolo"), None, output.parent)
    compare(list(ours), [ultralytics_predictions(load_new(ctx), image, report.spec) for image in images], report.spec)
    file = YOLO(str(output), task=report.spec.task) if runs is None else runs(str(output))
    arguments = {"imgsz": SIZE, "rect": False, "retina_masks": True, "verbose": False}
    results = [file(str(image), **arguments)[0] for image in images]
    compare(list(ours), [converted(result, report.spec) for result in results], report.spec)
    return report


@pytest.mark.full
@pytest.mark.parametrize(
    "name", ["segment", "pose", "obb", "detect-end2end", "segment-end2end", "pose-end2end", "obb-end2end"]
)
def test_predictions_are_ultralytics_own(
    name: str, task_checkpoint: Callable[[str], Path], crowded: list[Path], tmp_path: Path
) -> None:
    from adaptrt_ultralytics.framework import scales_each_axis

    if not scales_each_axis():
        pytest.skip("ultralytics before 8.4.174 scales boxes back with one factor for both axes")
    end2end = name.endswith("end2end")
    report = check(task_checkpoint(name), crowded, tmp_path / "ours.onnx", batch=(1, 2, 3), may_skip=end2end)
    assert report.spec is not None
    assert report.spec.outputs[0].dims[0] == "batch"
    if end2end:
        assert report.spec.outputs[0].dims[1:] == (
            300,
            {"detect": 6, "segment": 38, "pose": 21, "obb": 7}[report.spec.task],
        )


@pytest.mark.full
@pytest.mark.parametrize("name", ["segment", "pose", "obb"])
def test_nms_in_the_graph_keeps_what_ultralytics_keeps(
    name: str, task_checkpoint: Callable[[str], Path], crowded: list[Path], tmp_path: Path
) -> None:
    from adaptrt_ultralytics.framework import scales_each_axis, ultralytics_predictions
    from adaptrt_ultralytics.load import load_new

    if not scales_each_axis():
        pytest.skip("ultralytics before 8.4.174 scales boxes back with one factor for both axes")
    checkpoint, file = task_checkpoint(name), tmp_path / "ours.onnx"
    report = adaptrt.convert(
        checkpoint, adapter="yolo", output=file, image=crowded[0], imgsz=SIZE, batch=(1, 2, 3), nms=True, verify="quick", html=False
    )  # fmt: skip
    assert [report.link(number).status for number in (0, 1, 2, 5)] == ["passed"] * 4
    assert any("identical to NumPy NMS" in check.name for check in report.link(2).checks)
    assert not SHAPE_ARITHMETIC & set(report.operators["final"])
    assert report.spec is not None
    assert report.spec.decoder is not None
    assert report.spec.decoder.name == f"nms_{name}"
    with adaptrt.load(file) as model:
        ours = list(model(crowded))
        assert not model.last_warnings
    ctx = Conversion(Request(str(checkpoint), "yolo"), None, tmp_path)
    spec = replace(report.spec, decoder=adaptrt.DecoderSpec(f"yolo_{name}", {"iou": 0.7}))
    compare(ours, [ultralytics_predictions(load_new(ctx), image, spec) for image in crowded], spec)


@pytest.mark.full
@pytest.mark.parametrize("name", ["segment", "pose", "obb"])
def test_trained_heads_find_the_shapes(name: str, task_checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    """Scores on held-out images: the fixtures have learned what they are there for."""
    pytest.importorskip("faster_coco_eval", reason="needs faster-coco-eval")
    import draw_shapes

    from adaptrt.specs.tasks import scoring_named

    look = replace(draw_shapes.DETECTION, objects=(4, 9), radius=(0.06, 0.2))
    look = replace(look, squeeze=(0.4, 0.7)) if name == "obb" else look
    file = tmp_path / "ours.onnx"
    adaptrt.convert(task_checkpoint(name), adapter="yolo", output=file, imgsz=SIZE, batch=1, verify="none", html=False)
    write = draw_shapes.write_rotated_set if name == "obb" else draw_shapes.write_detection_set
    write(tmp_path / "data", 12, 1002, look)
    model, scoring = adaptrt.load(file), scoring_named(name)
    dataset = scoring.read_dataset(tmp_path / "data", model.spec, None)
    scorer = scoring.scorer(model.spec, dataset)
    for example in dataset.examples:
        scorer.add(example.truth, model(example.path, **scoring.params(model.spec))[0])
    main, value = next(iter(scorer.scores().items()))
    limit = {"segment": 0.5, "pose": 0.4, "obb": 0.4}[name]
    assert value >= limit, f"{main} {value}"


@pytest.mark.full
@pytest.mark.parametrize("name", ["segment", "pose", "obb", "segment-end2end"])
def test_height_and_width_can_be_dynamic(name: str, task_checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    report = adaptrt.convert(
        task_checkpoint(name),
        adapter="yolo",
        output=tmp_path,
        shape="images=1..2@1x3x192..384@256x192..448@320",
        html=False,
    )
    assert report.status == "passed"
    runner = adaptrt.load(tmp_path / f"{name}.onnx").runner
    for height, width in ((192, 448), (384, 192), (256, 320)):
        outputs = list(runner.run({"images": np.zeros((2, 3, height, width), np.float32)}).values())
        cells = sum(height // s * (width // s) for s in (8, 16, 32))
        assert outputs[0].shape[2 if "end2end" not in name else 1] == (cells if "end2end" not in name else 300)
        assert len(outputs) == 1 or outputs[1].shape[2:] == (height // 4, width // 4)


def test_the_other_head_of_a_network_with_two(task_checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    from adaptrt_ultralytics.heads import choose_branch, decoder_of, outputs_of
    from adaptrt_ultralytics.rebuild import load_new_family

    network: Any = load_new_family(task_checkpoint("detect-end2end"))
    images = torch.rand(1, 3, 64, 64)
    for wanted, decoder, shape in ((None, "yolo_end2end", (1, 84, 6)), (False, "yolo", (1, 8, 84))):
        choose_branch(network, wanted)
        assert decoder_of(network).name == decoder
        with torch.no_grad():
            assert tuple(network(images)[0].shape) == shape
        assert outputs_of(network.model[-1], 4)[0].groups[0].axis == (2 if decoder == "yolo_end2end" else 1)
    plain: Any = load_new_family(task_checkpoint("detect"))
    with pytest.raises(adaptrt.UsageError, match="has no end-to-end branch"):
        choose_branch(plain, True)


def narrow_rtdetr(path: Path, images: list[Path]) -> Path:
    """A checkpoint with a narrow decoder on the trained detector's features; its heads are random, but find something: boxes around
    their anchors, and scores of every class that are spread over the images."""
    import copy

    import cv2
    import shapes_models
    from ultralytics.nn import tasks

    trained = shapes_models.detector()
    config = copy.deepcopy(trained.yaml) | {"yaml_file": "rtdetr-narrow.yaml"}
    config["head"][-1] = [config["head"][-1][0], 1, "RTDETRDecoder", ["nc", 64, 40, 4, 4, 2, 128]]
    torch.manual_seed(0)
    model: Any = tasks.RTDETRDetectionModel(config, verbose=False)
    last = f"model.{len(model.model) - 1}."
    shared = {name: value for name, value in trained.state_dict().items() if not name.startswith(last)}
    model.load_state_dict(shared, strict=False)
    model.names, model.args = trained.names, dict(trained.args) | {"model": "rtdetr-narrow.yaml"}
    pixels = np.stack([cv2.resize(cv2.imread(str(image)), (SIZE, SIZE))[..., ::-1] for image in images])
    head, scores = model.model[-1], []
    with torch.no_grad():
        for boxes in (head.enc_bbox_head, *head.dec_bbox_head):
            boxes.layers[-1].weight.normal_(0, 0.02)
        for classes in (head.enc_score_head, *head.dec_score_head):
            classes.weight.normal_(0, 0.3)
        hook = head.dec_score_head[-1].register_forward_hook(lambda _module, _inputs, output: scores.append(output))
        model.eval()(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()).float() / 255)
        hook.remove()
        classes = head.dec_score_head[-1]
        spread, mean = scores[0].std((0, 1)), scores[0].mean((0, 1))
        classes.weight.mul_((2 / spread)[:, None])
        classes.bias.sub_(mean).mul_(2 / spread)
    torch.save({"epoch": -1, "model": model.half(), "ema": None, "train_args": {"imgsz": SIZE}}, path)
    return path


@pytest.mark.full
def test_rtdetr_is_ultralytics_own(crowded: list[Path], tmp_path: Path) -> None:
    """Link 1 compares the patched attention; both predictors of Ultralytics find the same: of the network, and of our file."""
    from ultralytics import RTDETR

    report = check(
        narrow_rtdetr(tmp_path / "narrow.pt", crowded), crowded, tmp_path / "ours.onnx", runs=RTDETR, batch=(1, 2, 3)
    )
    assert "GridSample" not in report.operators["final"]
    assert "GatherElements" in report.operators["final"]


FAMILIES = [
    *(f"{family}-{task}" for family in ("yolov8n", "yolo11n", "yolo12n", "yolo26n") for task in ("seg", "pose", "obb", "cls")),
    "yolov9c-seg", "yolov10n", "yolo26n",
]  # fmt: skip


@pytest.mark.full
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_passes(name: str, crowded: list[Path], tmp_path: Path) -> None:
    """Links 1 and 2 at dynamic batch, with random weights that see."""
    import cv2
    from calibrated import calibrate
    from ultralytics import YOLO

    size = 64  # few boxes and classes: scores that lie too close together would leave the order of end-to-end rows to rounding
    pixels = np.stack([cv2.resize(cv2.imread(str(path)), (size, size))[..., ::-1] for path in crowded])
    images = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()).float() / 255
    yolo: Any = YOLO(f"{name}.yaml")
    yolo.model = type(yolo.model)(f"{name}.yaml", nc=CLASSES, verbose=False)
    calibrate(yolo.model, images)
    yolo.save(tmp_path / "ours.pt")
    report = adaptrt.convert(
        tmp_path / "ours.pt", adapter="yolo", output=tmp_path, imgsz=size, batch=(1, 2, 3), verify="quick", html=False
    )
    assert [report.link(number).status for number in (1, 2)] == ["passed", "passed"]
    assert not SHAPE_ARITHMETIC & set(report.operators["final"])


@pytest.mark.full
def test_classes_are_ultralytics_own(crowded: list[Path], tmp_path: Path) -> None:
    """A last layer fitted to the drawn classes, so that images have different ones; link 0 and the file in Ultralytics."""
    import cv2
    import draw_shapes
    from calibrated import calibrate
    from ultralytics import YOLO

    from adaptrt_ultralytics.framework import converted, ultralytics_predictions
    from adaptrt_ultralytics.load import load_new

    size, nc = 64, len(draw_shapes.NAMES)
    look = replace(draw_shapes.CLASSIFICATION, size=80)
    drawn = [draw_shapes.draw_classification_image(1000, index, look) for index in range(120)]
    yolo: Any = YOLO("yolov8n-cls.yaml")
    head = yolo.model.model[-1]
    head.linear = torch.nn.Linear(head.linear.in_features, nc)
    yolo.model.names = dict(enumerate(draw_shapes.NAMES))
    pixels = np.stack([cv2.resize(image, (size, size))[..., ::-1] for image, _ in drawn])
    images = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()).float() / 255
    calibrate(yolo.model, images[:32])
    features: list[torch.Tensor] = []
    hook = head.linear.register_forward_hook(lambda _module, inputs, _output: features.append(inputs[0]))
    with torch.no_grad():
        yolo.model(images)
    hook.remove()
    labels = torch.tensor([label for _, label in drawn])
    known = features[0] - features[0].mean(0)
    targets = torch.nn.functional.one_hot(labels, nc).float() - 1 / nc
    weights = torch.linalg.solve(known.T @ known + 1e-3 * torch.eye(known.shape[1]), known.T @ targets)
    head.linear.weight.data = 8 * weights.T.contiguous()
    head.linear.bias.data = -8 * (features[0].mean(0) @ weights)
    yolo.save(tmp_path / "ours.pt")
    paths = []
    for index, (image, _) in enumerate(drawn[:40]):
        paths.append(tmp_path / f"{index}.png")
        cv2.imwrite(str(paths[-1]), image)
    report = adaptrt.convert(
        tmp_path / "ours.pt", adapter="yolo", output=tmp_path / "ours.onnx", image=paths[0], imgsz=size, html=False
    )
    assert report.spec is not None
    assert [report.link(number).status for number in (0, 1, 2, 5)] == ["passed"] * 4
    ours = adaptrt.load(tmp_path / "ours.onnx")(paths)
    assert len({int(found.labels[0]) for found in ours}) == nc, "the images have different classes"
    ctx = Conversion(Request(str(tmp_path / "ours.pt"), "yolo"), None, tmp_path)
    file = YOLO(str(tmp_path / "ours.onnx"), task="classify")
    for path, found in zip(paths, ours, strict=True):
        for theirs in (
            ultralytics_predictions(load_new(ctx), path, report.spec),
            converted(file(str(path), imgsz=size, verbose=False)[0], report.spec),
        ):
            np.testing.assert_array_equal(found.labels[:1], theirs.labels[:1])
            np.testing.assert_allclose(found.scores, theirs.scores, atol=1e-4)
