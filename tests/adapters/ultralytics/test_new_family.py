"""Checkpoints of the package, rebuilt without unpickling, against Ultralytics' own loading of the same file."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("ultralytics", reason="needs the package ultralytics")
from torch import nn  # noqa: E402
from ultralytics import YOLO  # noqa: E402
from ultralytics.nn.tasks import DetectionModel  # noqa: E402

from adaptrt.errors import CheckpointError  # noqa: E402
from adaptrt_ultralytics.rebuild import load_new_family  # noqa: E402

TRAINED = Path(__file__).parents[2] / "fixtures" / "yolov5n_shapes.pt"


def perturbed(config: str, nc: int = 5) -> Any:
    """Random weights whose output depends on the input."""
    torch.manual_seed(3)
    model = DetectionModel(config, nc=nc, verbose=False).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
    model.names = {index: f"thing{index}" for index in range(nc)}
    model.args = {"task": "detect"}
    return model


def saved(model: Any, path: Path, **more: Any) -> Path:
    torch.save(
        {"epoch": -1, "model": copy.deepcopy(model).half(), "ema": None, "train_args": {"imgsz": 320}, **more}, path
    )
    return path


def output_of(model: Any, images: Any) -> Any:
    with torch.no_grad():
        return model(images)[0]


# YOLO() takes a file called yolov5n.pt for its own, renames it and goes to the network: other names here.
@pytest.mark.parametrize("name", ["yolov5n", "yolov5n-p6", "yolov8n", "yolov9t", "yolo11n", "yolo12n"])
def test_as_ultralytics_loads_it(tmp_path: Path, name: str) -> None:
    path = saved(perturbed(f"{name}.yaml"), tmp_path / "best.pt")
    model, theirs = load_new_family(path), YOLO(path).model.float().eval()
    images = torch.rand(2, 3, 128, 192)
    assert torch.equal(output_of(model, images), output_of(theirs, images))
    assert model.names == theirs.names
    assert torch.equal(model.stride, theirs.stride)
    assert model.yaml == theirs.yaml
    assert model.args["imgsz"] == 320
    assert model.state_dict().keys() == theirs.state_dict().keys()
    assert {m.eps for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}


@pytest.mark.skipif(not TRAINED.exists(), reason="the trained fixture is not there")
def test_the_trained_fixture() -> None:
    images = torch.rand(1, 3, 320, 320)
    assert torch.equal(
        output_of(load_new_family(TRAINED), images), output_of(YOLO(TRAINED).model.float().eval(), images)
    )


@pytest.mark.parametrize("source", ["yolov8n.yaml", "yolov5nu", None])
def test_random_weights_cause_a_warning(tmp_path: Path, source: str | None) -> None:
    """``yolov5nu`` is a config, ``yolov5nu.pt`` would be its weights: easily mixed up."""
    from adaptrt import Conversion, Request
    from adaptrt_ultralytics import yolo

    said: list[str] = []
    given = source or str(saved(perturbed("yolov8n.yaml"), tmp_path / "best.pt"))
    ctx = Conversion(Request(given, "yolo"), None, tmp_path, warn=said.append)
    yolo.model_spec(ctx, yolo.load_model(ctx))
    assert [text.startswith(f"{given} has random weights") for text in said] == [True] * (source is not None)


def test_class_names_are_read_by_number(tmp_path: Path) -> None:
    model = perturbed("yolov5n.yaml", nc=11)
    expected = {index: f"thing{index}" for index in range(11)}
    model.names = dict(sorted((str(index), name) for index, name in expected.items()))
    assert load_new_family(saved(model, tmp_path / "text.pt")).names == expected
    model.names = {index + 1: name for index, name in expected.items()}
    with pytest.raises(CheckpointError, match="not numbered from 0 to 10"):
        load_new_family(saved(model, tmp_path / "shifted.pt"))


def test_averaged_weights_are_preferred(tmp_path: Path) -> None:
    averaged = perturbed("yolov8n.yaml")
    last = copy.deepcopy(averaged)
    last.model[0].conv.weight.data.zero_()
    torch.save({"model": last, "ema": averaged}, tmp_path / "best.pt")
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(output_of(load_new_family(tmp_path / "best.pt"), images), output_of(averaged, images))


def test_fused(tmp_path: Path) -> None:
    fused = perturbed("yolo11n.yaml").fuse(verbose=False)
    torch.save({"model": fused}, tmp_path / "best.pt")
    model = load_new_family(tmp_path / "best.pt")
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(output_of(model, images), output_of(fused, images))


def test_activation_comes_from_the_checkpoint(tmp_path: Path) -> None:
    model = perturbed("yolov8n.yaml")
    for module in model.modules():
        if hasattr(module, "act"):
            module.act = nn.LeakyReLU(0.1)
    torch.save({"model": model}, tmp_path / "best.pt")
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(output_of(load_new_family(tmp_path / "best.pt"), images), output_of(model, images))


def test_traces_of_an_export_are_gone(tmp_path: Path) -> None:
    model = perturbed("yolov8n.yaml")
    model.model[-1].export, model.model[-1].format, model.model[-1].dynamic = True, "engine", True
    torch.save({"model": model}, tmp_path / "best.pt")
    head = load_new_family(tmp_path / "best.pt").model[-1]
    assert (head.export, head.format, head.dynamic) == (False, None, False)


@pytest.mark.parametrize("name", ["yolov5n", "yolov5nu", "yolov5nu.yaml", "yolov5n6u", "yolov8n.yaml", "yolo11n"])
def test_configs_by_name(name: str) -> None:
    first, second = load_new_family(name), load_new_family(name)
    assert len(first.stride) == (4 if "6" in name else 3)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_unknown_names() -> None:
    with pytest.raises(CheckpointError, match="yolov8n"):
        load_new_family("yolv8n")
    with pytest.raises(CheckpointError, match="Files are never downloaded"):
        load_new_family("/nowhere/yolov5n.pt")


def test_a_config_of_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("nc: 2\nactivation: __import__('os').system('false')\n")
    with pytest.raises(CheckpointError, match="without weights"):
        load_new_family(tmp_path / "mine.yaml")


HEADS = {
    "yolov8n-seg": "SegmentationModel",
    "yolo26n-seg": "SegmentationModel",
    "yolo11n-pose": "PoseModel",
    "yolo26n-pose": "PoseModel",
    "yolo12n-obb": "OBBModel",
    "yolo26n-obb": "OBBModel",
    "yolo11n-cls": "ClassificationModel",
    "yolo26n-cls": "ClassificationModel",
    "yolov10n": "DetectionModel",
    "yolo26n": "DetectionModel",
    "rtdetr-resnet50": "RTDETRDetectionModel",
}
EVERYDAY = ("yolov8n-seg", "yolo26n-pose", "yolo11n-cls")


def first(outputs: Any) -> list[Any]:
    """Every tensor of the decoded outputs."""
    from adaptrt_ultralytics.heads import decoded

    found = decoded(outputs)
    return [found] if isinstance(found, torch.Tensor) else list(found)


@pytest.mark.parametrize(
    "config", [name if name in EVERYDAY else pytest.param(name, marks=pytest.mark.full) for name in HEADS]
)
def test_other_heads_as_ultralytics_loads_them(tmp_path: Path, config: str) -> None:
    from ultralytics import RTDETR
    from ultralytics.nn import tasks

    torch.manual_seed(0)  # for some random weights, rounding errors exchange two queries of RT-DETR
    model = getattr(tasks, HEADS[config])(f"{config}.yaml", verbose=False).eval()
    model.args = {"task": "any"}
    path = saved(model, tmp_path / "best.pt")
    ours, theirs = load_new_family(path), (RTDETR if "rtdetr" in config else YOLO)(path).model.float().eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected, found = first(theirs(images)), first(ours(images))
    assert len(found) == len(expected) == (2 if "seg" in config else 1)
    limit = 1e-6 if "rtdetr" in config else 0  # attention in another order of sums
    assert all((a - b).abs().max() <= limit for a, b in zip(found, expected, strict=True))
    assert ours.names == theirs.names


OTHERS = {
    "yolo26n-sem.yaml": ("SemanticSegmentationModel", "semantic segmentation"),
    "yolo26n-depth.yaml": ("DepthModel", "depth"),
}


@pytest.mark.parametrize("config", OTHERS)
def test_other_tasks(tmp_path: Path, config: str) -> None:
    from ultralytics.nn import tasks

    name, words = OTHERS[config]
    torch.save({"model": getattr(tasks, name)(config, verbose=False)}, tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match=words) as caught:
        load_new_family(tmp_path / "best.pt")
    assert "Supported: detection" in str(caught.value)
    with pytest.raises(CheckpointError, match="not supported"):
        load_new_family(config)


def test_a_state_dict_alone(tmp_path: Path) -> None:
    torch.save(perturbed("yolov8n.yaml").state_dict(), tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match="without the network"):
        load_new_family(tmp_path / "weights.pt")


class Payload:
    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> Any:
        import os

        return os.system, (f"echo run > '{self.sentinel}'",)


def test_nothing_in_the_file_runs_unless_trusted(tmp_path: Path) -> None:
    path = saved(perturbed("yolov8n.yaml"), tmp_path / "best.pt", extra=Payload(tmp_path / "it-ran"))
    with pytest.raises(CheckpointError, match=r"posix\.system"):
        load_new_family(path)
    assert not (tmp_path / "it-ran").exists()
    model = load_new_family(path, trust=True)
    assert (tmp_path / "it-ran").exists()
    assert model.names[0] == "thing0"


def test_a_layer_that_is_not_on_the_list(tmp_path: Path) -> None:
    model = perturbed("yolov8n.yaml")
    model.model[1] = nn.LSTM(3, 3)
    torch.save({"model": model}, tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match=r"model\.1.*LSTM"):
        load_new_family(tmp_path / "best.pt")


def test_settings_are_data_only(tmp_path: Path) -> None:
    model = perturbed("yolov8n.yaml")
    model.model[0].code = pickle.PickleBuffer  # a class, not data
    torch.save({"model": model}, tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match="PickleBuffer"):
        load_new_family(tmp_path / "best.pt")
    model.model[0].code = nn.Conv2d
    torch.save({"model": model}, tmp_path / "best.pt")
    with pytest.raises(
        CheckpointError, match=r"model\.0 .*its code is torch\.nn\.modules\.conv\.Conv2d, which is not data"
    ):
        load_new_family(tmp_path / "best.pt")


@pytest.mark.parametrize("channels", [1, 4])
def test_channels_come_from_the_first_convolution(tmp_path: Path, channels: int) -> None:
    import numpy as np

    from adaptrt import Conversion, Request, ShapeRequest
    from adaptrt.vision.transforms import transform_batch
    from adaptrt_ultralytics import yolo

    torch.manual_seed(0)
    original = DetectionModel("yolov8n.yaml", ch=channels, nc=3, verbose=False).eval()
    path = saved(original, tmp_path / "best.pt")
    ctx = Conversion(Request(str(path), "yolo"), None, tmp_path)
    model = yolo.load_model(ctx)
    spec, _ = ShapeRequest(imgsz=(64, 96)).apply(yolo.model_spec(ctx, model))
    assert spec.image_channels == channels
    np.save(tmp_path / "image.npy", np.random.default_rng(0).integers(0, 256, (50, 70, channels), np.uint8))
    arrays, _ = transform_batch([np.load(tmp_path / "image.npy")], spec)
    images = torch.from_numpy(arrays["images"])
    assert torch.equal(model(images), output_of(original.half().float(), images))
    if channels != 1:  # Ultralytics takes gray from an image file
        assert yolo.framework_predictions(ctx, tmp_path / "image.npy", spec).names == spec.labels


@pytest.mark.parametrize(
    ("version", "size", "warns"),
    [("8.4.173", (48, 64), True), ("8.4.173", (64, 64), False), ("8.4.174", (48, 64), False)],
)
def test_inexact_boxes_of_an_old_ultralytics_cause_a_warning(
    version: str, size: tuple[int, int], warns: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cv2
    import numpy as np
    import ultralytics

    from adaptrt import Conversion, Request
    from adaptrt_ultralytics.framework import warn_of_scaling

    monkeypatch.setattr(ultralytics, "__version__", version)
    image = tmp_path / "image.png"
    cv2.imwrite(str(image), np.zeros((*size, 3), np.uint8))
    said: list[str] = []
    warn_of_scaling(Conversion(Request("yolov8n", "yolo"), None, tmp_path, warn=said.append), image)
    assert ["8.4.174 or later" in text for text in said] == [True] * warns
