"""Random weights with which a detector finds something in an image, of any head that the adapters accept.

Drawn images are passed through the network once. As each layer is reached, batch normalization takes the statistics of its input, and
the layers that predict classes, boxes and masks are scaled and shifted, so that scores and boxes vary as those of a trained network.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adaptrt.checkpoint.random_weights import batch_norms, first_statistics
from benchmarks.common.results import use_fixtures

CLASSES = (
    "retina_cls",
    "conv_cls",
    "atss_cls",
    "gfl_cls",
    "vfnet_cls",
    "cls_score",
    "rtm_cls",
    "multi_level_conv_cls",
    "cls_branches",
)
BOXES = (
    "retina_reg",
    "conv_reg",
    "atss_reg",
    "vfnet_reg",
    "bbox_pred",
    "rtm_reg",
    "multi_level_conv_reg",
)
OTHERS = {
    "rpn_cls": (0.0, 2.0),
    "rpn_reg": (0.0, 0.2),
    "fc_cls": (0.0, 3.0),
    "fc_reg": (0.0, 0.5),
    "conv_logits": (0.0, 2.0),
    "multi_level_conv_obj": (1.0, 1.0),
    "convs_pred": (0.0, 1.0),
    "rtm_kernel": (0.0, 0.6),
    "projection": (0.0, 1.0),
}
"""Mean and standard deviation of the outputs."""
SIDES = {"DistancePointBBoxCoder": (1.0, 0.3), "TBLRBBoxCoder": (0.2, 0.05)}
"""The same of encoded boxes, by the coder: distances must be positive."""
LOWEST = 0.05


def lively(
    config: str, adapter: str, images: Sequence[Path], size: tuple[int, int], folder: Path, changes: Mapping[str, Any]
) -> Path:
    """A checkpoint with which the detector finds something in these images, in inputs of ``size`` (height, width)."""
    import cv2
    import torch

    model = opened(config, adapter, folder, changes)
    arrays = [cv2.resize(cv2.imread(str(image)), size[::-1]).transpose(2, 0, 1).copy() for image in images]
    batch = torch.stack([torch.from_numpy(array).float() for array in arrays])
    prepare = model.source.config.model.data_preprocessor
    if prepare.get("mean"):
        mean, std = (torch.tensor([float(one) for one in prepare[name]]).view(1, -1, 1, 1) for name in ("mean", "std"))
        batch = (batch - mean) / std
    disturb(model.detector)
    with torch.no_grad(), adjusted(model.detector):
        model(batch)
    torch.save({"state_dict": model.detector.state_dict()}, folder / "weights.pth")
    return folder / "weights.pth"


def draw_images(folder: Path, size: tuple[int, int], count: int = 4, *, padded: bool = False) -> list[Path]:
    """Drawn images of ``size``; ``padded``: larger ones, each of another aspect ratio."""
    import cv2

    use_fixtures()
    from draw_shapes import draw_detection_image

    paths = []
    for index in range(count):
        image = draw_detection_image(2002, index).image
        if padded:
            image = cv2.resize(image, (4 * size[1] - 50 * index, 3 * size[0] + 30 * index))
        else:
            image = cv2.resize(image, size[::-1])
        paths.append(folder / f"{index}.png")
        cv2.imwrite(str(paths[-1]), image)
    return paths


def opened(
    config: str,
    adapter: str,
    folder: Path,
    changes: Mapping[str, Any],
    weights: Path | None = None,
) -> Any:
    """The wrapped network of a config."""
    from adaptrt import Conversion, Request
    from adaptrt_mmdet.dense_family import wrap_dense
    from adaptrt_mmdet.options import DetrOptions, OneAndTwoStageOptions
    from adaptrt_mmdet.query_family import wrap
    from adaptrt_mmdet.sources import open_source
    from adaptrt_mmdet.two_stage_family import is_two_stage, wrap_two_stage

    kind = DetrOptions if adapter == "detr" else OneAndTwoStageOptions
    options: Any = kind(cfg=dict(changes))
    source = open_source(Conversion(Request(config, adapter, weights=weights), options, folder))
    if adapter == "detr":
        return wrap(source, options).eval()
    return (wrap_two_stage(source, options) if is_two_stage(source.detector) else wrap_dense(source)).eval()


def disturb(detector: Any) -> None:
    """Parameters that start with equal values, such as offsets of deformable convolutions at zero, get different ones."""
    import torch

    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in detector.named_parameters():
            if parameter.ndim == 1 or "backbone" not in name or "offset" in name:
                spread = 0.1 * (parameter.std(correction=0) + 0.02)
                parameter += spread * torch.randn(parameter.shape, generator=generator)


@contextmanager
def adjusted(detector: Any) -> Iterator[None]:
    """Each layer is adjusted when it is called for the first time; levels that share one have the scale of the first."""
    import torch

    handles = [norm.register_forward_pre_hook(first_statistics()) for norm in batch_norms(detector)]
    for name, module in detector.named_modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            wanted = target(detector, name)
            if wanted is not None and not type(module).__name__.startswith("Normed"):  # its weights have length 1
                handles.append(module.register_forward_hook(_once(_scaling(*wanted))))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def target(detector: Any, name: str) -> tuple[float, float] | None:
    """Mean and standard deviation that the outputs of a layer should have; ``None``: as they are."""
    parts = [part for part in name.split(".") if not part.isdecimal()]
    if not parts:
        return None
    head = getattr(detector, "bbox_head", None)
    if type(head).__name__ == "SSDHead" and len(parts) == 2:
        return {"cls_convs": (0.0, 3.0), "reg_convs": (0.0, 0.3)}.get(parts[-1])
    if parts[-1] in CLASSES:
        return -2.0, 2.0
    if parts[-1] in BOXES:
        return SIDES.get(type(getattr(head, "bbox_coder", None)).__name__, (0.0, 0.3))
    return OTHERS.get(parts[-1])


def _once(change: Any) -> Any:
    called = []

    def hook(module: Any, inputs: Any, *output: Any) -> Any:
        if called:
            return None
        called.append(True)
        return change(module, inputs, *output)

    return hook


def _scaling(mean: float, std: float) -> Any:
    """A hook that gives every channel this mean, and all together this standard deviation."""
    import torch

    def scale(module: Any, _: Any, output: Any) -> Any:
        axis = 1 if isinstance(module, torch.nn.Conv2d) else -1
        values = output.transpose(0, axis).flatten(1)
        centers = values.mean(1) if module.bias is not None else torch.zeros(len(values))
        factor = std / (values - centers[:, None]).std().clamp(min=1e-6)
        module.weight *= factor
        if module.bias is not None:
            module.bias.copy_((module.bias - centers) * factor + mean)
        shape = [1] * output.ndim
        shape[axis] = -1
        return (output - centers.view(shape)) * factor + (mean if module.bias is not None else 0.0)

    return scale


def threshold(model: Any, adapter: str, images: Sequence[Path], size: tuple[int, int], least: int = 10) -> float:
    """A threshold above which mmdet's predict finds at least ``least`` boxes in each image, in a wide gap between scores.

    ``model``: of ``opened``, with the weights of ``lively``.
    """
    from adaptrt_mmdet.framework import ALL_CANDIDATES, predict

    head = getattr(model.detector, "bbox_head", None)
    if getattr(model.detector, "roi_head", None) is None and "nms_pre" in (getattr(head, "test_cfg", None) or {}):
        head.test_cfg["nms_pre"] = ALL_CANDIDATES  # as in the comparison: random weights have more candidates
    found = predict(model.source, images, size, stretch=adapter == "detr")
    scores = [sorted(one.scores.tolist(), reverse=True) for one in found]
    fewest = min(map(len, scores))
    if fewest <= least:  # all of them
        return min((each[-1] for each in scores if each), default=LOWEST) / 2
    highest = min(each[least - 1] for each in scores)
    return gap(sorted((score for each in scores for score in each if score <= highest), reverse=True)[: 5 * least])


def gap(scores: Sequence[float]) -> float:
    """The middle of the widest gap."""
    return max((above - below, (above + below) / 2) for above, below in itertools.pairwise(scores))[1]
