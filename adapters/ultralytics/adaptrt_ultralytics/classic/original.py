"""Runs classic networks with their original code: a checkout of the repository, or the package ``yolov5``.

This code runs only if the user specified it (``--set repo``, ``--trust-checkpoint``) or installed it. Without
``--trust-checkpoint``, the pickle is still read as data; only its classes are taken from the repository.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from adaptrt import CheckpointError, Classification, DependencyError, Detections, ModelSpec, Segments
from adaptrt.checkpoint import InertObject, read_checkpoint
from adaptrt.vision.images import bgr_pixels, frameworks_read
from adaptrt_ultralytics.checkpoints import SUPPORTED, WRAPPERS
from adaptrt_ultralytics.framework import cropped_mask
from adaptrt_ultralytics.rebuild_modules import input_channels, rebuild_module

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from adaptrt_ultralytics.checkpoints import Checkpoint

_PACKAGE = "yolov5"
_TOP = ("models", "utils")


class OriginalClassic(nn.Module):
    """A network of the repository's own classes, which returns only its decoded outputs, like ``ClassicModel``."""

    def __init__(self, network: nn.Module, source: str) -> None:
        super().__init__()
        self.network = network
        layers: Any = network.model
        head: Any = layers[-1]
        names = network.names
        names = dict(enumerate(names)) if isinstance(names, (list, tuple)) else dict(names)  # type: ignore[arg-type]
        self.task = "classify" if _is_classify(head) else "segment" if hasattr(head, "proto") else "detect"
        self.nc = int(head.linear.out_features if self.task == "classify" else head.nc)
        self.size: tuple[int, int] | None = None
        self.names: Mapping[int, str] = {index: str(names.get(index, f"class{index}")) for index in range(self.nc)}
        self.channels = input_channels(layers)
        stride = torch.ones(1) if self.task == "classify" else head.stride
        if not isinstance(stride, Tensor):
            raise CheckpointError(f"The head of {source} has no strides.")
        self.steps = tuple(int(step) for step in stride)

    @property
    def stride(self) -> Tensor:
        return torch.tensor(self.steps)

    def forward(self, images: Tensor) -> Any:
        outputs = self.network(images)
        if not isinstance(outputs, (tuple, list)):
            return outputs
        return (outputs[0], outputs[1]) if self.task == "segment" else outputs[0]


class UnusableRepositoryError(Exception):
    """The original code cannot be used; its message says why."""


def load_trusted(path: Path, repo: str | None) -> nn.Module:
    """The network in the pickle, unpickled by torch, which runs its code: only with ``--trust-checkpoint``."""
    with _importable(repo, keep=True):
        try:
            contents: Any = read_checkpoint(path, trust=True)
        except CheckpointError as error:
            raise CheckpointError(
                error.message,
                hint="Its classes must be importable under the names that they had when the file was saved: add the "
                "repository to PYTHONPATH, or use --set repo=PATH (adapter yolov5).",
            ) from error
    model = (contents.get("ema") or contents.get("model")) if isinstance(contents, dict) else contents
    while type(model).__name__ in WRAPPERS:
        model = model.model
    if not isinstance(model, nn.Module):
        raise CheckpointError(f"{path} contains a {type(model).__name__}, not a network.", hint=SUPPORTED)
    return model.float().eval().requires_grad_(False)


def is_classic(network: nn.Module) -> bool:
    """Whether a network of the repository's own classes ends in an anchor head, or in its classifier."""
    layers = getattr(network, "model", None)
    head = layers[-1] if isinstance(layers, nn.Sequential) and len(layers) else None
    if head is not None and _is_classify(head):
        return not type(head).__module__.startswith("ultralytics.")
    return isinstance(getattr(head, "anchors", None), Tensor) and hasattr(head, "na") and hasattr(head, "nc")


def _is_classify(head: nn.Module) -> bool:
    return type(head).__name__ == "Classify" and isinstance(getattr(head, "linear", None), nn.Linear)


def original_predictions(
    checkpoint: Checkpoint | OriginalClassic, image: Path, spec: ModelSpec, repo: str | None
) -> Detections | Segments | Classification | str:
    """Predictions of the repository's own network, image transform, NMS and masks; or the reason why they cannot be used."""
    if spec.image_channels != 3:
        return "not available: the classic repository supports only images with three channels"
    try:
        with _importable(repo, on_path=isinstance(checkpoint, OriginalClassic)) as prefix:
            if prefix is None:
                return (
                    "not available: the network was rebuilt from class names, and its original code is not installed "
                    "(--set repo=PATH, or pip install yolov5)"
                )
            network = checkpoint if isinstance(checkpoint, OriginalClassic) else _network(checkpoint, prefix)
            return (_classify if spec.task == "classify" else _detect)(network, image, spec, prefix)
    except UnusableRepositoryError as missing:
        if repo is not None:
            raise DependencyError(
                f"The repository {repo} cannot be used: {missing}.",
                hint="Install the packages in its requirements.txt, or omit --set repo.",
            ) from missing
        return f"not available: the package {_PACKAGE} cannot be used: {missing}"


@contextmanager
def _importable(repo: str | None, *, on_path: bool = False, keep: bool = False) -> Iterator[str | None]:
    """Make the repository importable; yields the prefix of ``models`` in its module names, or None if there is none.

    Without ``repo``, this is the installed package or, with ``on_path``, whatever Python finds as ``models``. The top-level
    names of a checkout (``models``, ``utils``) are common, so they are removed from ``sys.modules`` again unless ``keep``.
    """
    os.environ.setdefault("YOLOv5_AUTOINSTALL", "False")
    if repo is None:
        if on_path:
            yield ""
        else:
            yield f"{_PACKAGE}." if _is_installed() else None
        return
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in _TOP}
    for name in before:
        del sys.modules[name]
    place = str(Path(repo).resolve())
    sys.path.insert(0, place)
    try:
        yield ""
    finally:
        if not keep:
            sys.path.remove(place)
            for name in [name for name in sys.modules if name.partition(".")[0] in _TOP]:
                del sys.modules[name]
            sys.modules.update(before)


def _is_installed() -> bool:
    """Whether the package is installed; a folder of that name in the current folder does not count."""
    try:
        version(_PACKAGE)
    except PackageNotFoundError:
        return False
    return True


def _network(checkpoint: Checkpoint, prefix: str) -> OriginalClassic:
    """The network of the checkpoint, built from the repository's classes without unpickling."""

    def class_of(recorded: InertObject) -> type[nn.Module] | None:
        module, _, name = recorded.path.removeprefix(f"{_PACKAGE}.").rpartition(".")
        if module.partition(".")[0] not in _TOP:
            return None
        found = getattr(_imported(prefix + module), name, None)
        return found if isinstance(found, type) and issubclass(found, nn.Module) else None

    network: Any = rebuild_module(checkpoint.model, class_of).module
    head = network.model[-1]
    if _is_classify(head):
        return OriginalClassic(network.float().eval().requires_grad_(False), str(checkpoint.path))
    if hasattr(head, "proto"):
        head.detect = _function(prefix, "models.yolo.Detect").forward
    head.grid = [torch.empty(0) for _ in range(head.nl)]
    if "anchor_grid" not in head._buffers:
        head.anchor_grid = [torch.empty(0) for _ in range(head.nl)]
    for switch in ("export", "dynamic", "onnx_dynamic"):  # instance attributes in some versions
        if not hasattr(head, switch):
            setattr(head, switch, False)
    return OriginalClassic(network.float().eval().requires_grad_(False), str(checkpoint.path))


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception as error:  # whatever the repository raises while it is imported
        raise UnusableRepositoryError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error


def _function(prefix: str, *places: str) -> Any:
    """The first ``module.name`` that exists in the repository: functions moved between its versions."""
    for place in places:
        module, _, name = place.rpartition(".")
        if importlib.util.find_spec(prefix + module) is not None:
            found = getattr(_imported(prefix + module), name, None)
            if found is not None:
                return found
    raise UnusableRepositoryError(f"it has no {places[0]}")


def _classify(network: OriginalClassic, image: Path, spec: ModelSpec, prefix: str) -> Classification:
    transforms = _function(prefix, "utils.augmentations.classify_transforms")(spec.image_size[0])
    with torch.no_grad():
        scores = network(transforms(_pixels(image))[None].float()).softmax(1)[0].numpy()
    best = np.argsort(-scores, kind="stable")[: (spec.decoder.params if spec.decoder else {}).get("top_k", 5)]
    return Classification(scores[best], best.astype(np.int64), _names(network))


def _pixels(image: Path) -> NDArray[np.uint8]:
    """uint8 [H, W, 3], BGR."""
    import cv2

    return cv2.imread(str(image)) if frameworks_read(image, 3) else bgr_pixels(image, 3)


def _detect(network: OriginalClassic, image: Path, spec: ModelSpec, prefix: str) -> Detections | Segments:
    _imported(f"{prefix}utils")
    letterbox = _function(prefix, "utils.augmentations.letterbox", "utils.datasets.letterbox")
    suppress = _function(prefix, "utils.general.non_max_suppression")
    known = inspect.signature(suppress).parameters
    if network.nc > 1 and "multi_label" not in known:
        raise UnusableRepositoryError(
            "its non_max_suppression always allows several classes per box; use version 5.0 or later"
        )
    if spec.task == "segment" and "nm" not in known:
        raise UnusableRepositoryError("its non_max_suppression keeps no mask coefficients; use version 7.0 or later")
    params = spec.decoder.params if spec.decoder else {}
    pixels = _pixels(image)
    boxed, _, (side, above) = letterbox(pixels, spec.image_size, auto=False)
    batch = np.ascontiguousarray(boxed[..., ::-1].transpose(2, 0, 1)[None], dtype=np.float32) / np.float32(255)
    with torch.no_grad():
        outputs = network(torch.from_numpy(batch))
        rows, prototypes = outputs if spec.task == "segment" else (outputs, None)
        wanted = {
            "conf_thres": params.get("conf", 0.25),
            "iou_thres": params.get("iou", 0.45),
            "agnostic": params.get("agnostic", False),
            "max_det": params.get("max_det", 300),
            "nm": 0 if prototypes is None else prototypes.shape[1],
        }
        (found,) = suppress(rows, **{name: value for name, value in wanted.items() if name in known})
    found = found[: params.get("max_det", 300)]
    boxes = np.asarray(found[:, :4], np.float32)
    # its own scale_boxes ignores how its letterbox rounds, and is off by up to a pixel of the input
    for axis, pad in ((0, side), (1, above)):
        original, inner = pixels.shape[1 - axis], boxed.shape[1 - axis] - round(2 * pad)
        boxes[:, axis::2] = np.clip((boxes[:, axis::2] - round(pad - 0.1)) * original / inner, 0, original)
    scores, labels = np.asarray(found[:, 4], np.float32), np.asarray(found[:, 5], np.int64)
    if prototypes is None:
        return Detections(boxes, scores, labels, _names(network))
    size = (pixels.shape[0], pixels.shape[1])
    native = _function(prefix, "utils.segment.general.process_mask_native")
    with torch.no_grad():
        masks = native(prototypes[0], found[:, 6:], torch.from_numpy(boxes), size).bool().numpy() if len(boxes) else []
    return Segments(boxes, scores, labels, _names(network), tuple(map(cropped_mask, masks)), size)


def _names(network: OriginalClassic) -> tuple[str, ...]:
    return tuple(network.names[index] for index in range(network.nc))
