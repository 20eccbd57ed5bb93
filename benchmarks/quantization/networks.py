"""The networks of the int8 benchmark: sources, weights, and images to calibrate and score on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.common.fixture_scores import FIXTURES
from benchmarks.common.results import use_fixtures
from benchmarks.gpu.work import Work

IMAGES, CALIBRATION_SEED = 200, 3001


@dataclass(frozen=True)
class Network:
    """A network: ``source`` makes its file, and its weights if it has any, in the folder of ``--work``.

    ``scored``: trained, so ``images`` (drawn for it, ``draw(folder, count, seed)``) with this ``seed`` give it a score.
    ``recipe``: the name of its recipe in results/int8_tuned.json.
    """

    name: str
    adapter: str
    source: Callable[[Work], tuple[Path | str, Path | None]]
    images: str
    words: tuple[str, ...] = ()
    seed: int = 1002
    scored: bool = False
    calibration: int = 64
    recipe: str = ""


def _fixture(name: str, weights: str = "") -> Callable[[Work], tuple[Path | str, Path | None]]:
    return lambda _: (FIXTURES / name, FIXTURES / weights if weights else None)


def _sensitive_swin(work: Work) -> tuple[Path, None]:
    """The Swin fixture whose attention int8 cannot represent."""
    use_fixtures()
    from sensitive_swin import write_sensitive_swin

    return write_sensitive_swin(work.folder / "weights" / "swin_sensitive"), None


def _yolov5m(work: Work) -> tuple[Path, None]:
    """A checkpoint of Ultralytics with random weights, and BatchNorm statistics of drawn images."""
    path = work.folder / "weights" / "yolov5m.pt"
    if not path.exists():
        use_fixtures()
        import torch
        from draw_shapes import draw_detection_image
        from ultralytics.nn.tasks import DetectionModel

        from adaptrt.specs import ImageTransform
        from adaptrt.vision.transforms import transform_image

        sys.path.insert(0, str(FIXTURES.parent))
        from support.calibrated import calibrate

        torch.manual_seed(0)
        model = DetectionModel("yolov5m.yaml", verbose=False)
        drawn = (draw_detection_image(CALIBRATION_SEED, index).image for index in range(4))
        images = np.stack([transform_image(image, ImageTransform(), (640, 640))[0] for image in drawn])
        calibrate(model, torch.from_numpy(images))
        model.args = {"task": "detect", "model": "yolov5m.yaml", "imgsz": 640}
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"epoch": -1, "model": model.half(), "ema": None, "train_args": {"imgsz": 640}}, path)
    return path, None


def _swin(work: Work) -> tuple[str, Path]:
    """Swin-T with perturbed weights."""
    from benchmarks.swin.common import perturbed

    name, folder = "swin_tiny_patch4_window7_224", work.folder / "weights" / "swin_t"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "weights.safetensors"
    return name, path if path.exists() else perturbed(name, folder)


def _mmdet(config: str) -> Callable[[Work], tuple[str, Path]]:
    """A detector of mmdet with random weights whose scores and statistics are in the range of trained networks."""

    def source(work: Work) -> tuple[str, Path]:
        from benchmarks.detr.family import lively

        folder = work.folder / "weights" / config
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "weights.pth"
        return config, path if path.exists() else lively(config, folder)[0]

    return source


NETWORKS = (
    Network("yolov5m", "yolov5", _yolov5m, "detection", ("--imgsz", "640"), calibration=16),
    Network("swin_t", "swin", _swin, "classes", calibration=16),
    Network("yolov5n_shapes", "yolov5", _fixture("yolov5n_shapes.pt"), "detection", scored=True),
    Network(
        "detr_shapes", "detr", _fixture("detr_shapes.py", "detr_shapes.pth"), "small", seed=2002, scored=True, recipe="detr"
    ),
    Network("swin_shapes", "swin", _fixture("swin_shapes"), "classes", seed=2003, scored=True),
    Network("swin_sensitive", "swin", _sensitive_swin, "classes", seed=2003, scored=True, recipe="swin_sensitive"),
    Network(
        "retinanet_r50", "mmdet", _mmdet("retinanet_r50_fpn_1x_coco"), "detection", ("--imgsz", "640"), calibration=16
    ),
    Network(
        "detr_r50", "detr", _mmdet("detr_r50_8xb2-150e_coco"), "detection", ("--imgsz", "800x1216"), calibration=8
    ),
)  # fmt: skip


def draw(work: Work, kind: str, count: int, seed: int) -> Path:
    """Drawn images with their truth, in the look that the fixture was trained on."""
    use_fixtures()
    from draw_shapes import DETECTION, write_classification_set, write_detection_set

    folder = work.folder / "images" / f"{kind}_{seed}_{count}"
    target = folder / ("classes" if kind == "classes" else "instances.json")
    if target.exists():
        return target
    if kind == "classes":
        return write_classification_set(folder, count, seed)
    look = DETECTION
    if kind == "small":
        from train_detr import LOOK as look  # noqa: N811
    return write_detection_set(folder, count, seed, look, suffix=".png", workers=2)


def calibration_of(work: Work, network: Network) -> Path:
    """The folder of images to calibrate on: drawn with a seed that nothing was trained or scored on."""
    path = draw(work, network.images, network.calibration, CALIBRATION_SEED)
    return path.parent / "images" if path.suffix == ".json" else path
