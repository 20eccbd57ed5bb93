"""Converts DETR's family and one-stage detectors with the adapters ``detr`` and ``mmdet``: passed, or where it fails.

::

    python -m benchmarks.detr.family DIR [DETR ...]          weights, images and DIR/sweep.toml, of the list below or of these
    adaptrt sweep DIR/sweep.toml -o DIR/sweep --jobs 2       the conversions, with both exporters
    python -m benchmarks.detr.family DIR --take              adds their rows to results/detr_family.json

Weights are random, with batch norm statistics and scores adjusted to the range of trained networks. Passed means that every
link of the conversion passed: mmdet's own predict finds the same boxes (IoU 0.99, score within 0.001), the patched model
equals the original, and ONNX Runtime's outputs are within 1e-4, for single samples and in batches of 2 and 3.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks.common.results import FOLDER, machine, use_fixtures
from benchmarks.common.sweeps import INPUTS, Conversion, conversions, write_sweep

MODELS = {
    "DETR": ("detr", "detr_r50_8xb2-150e_coco"),
    "Conditional-DETR": ("detr", "conditional-detr_r50_8xb2-50e_coco"),
    "DAB-DETR": ("detr", "dab-detr_r50_8xb2-50e_coco"),
    "Deformable-DETR": ("detr", "deformable-detr_r50_16xb2-50e_coco"),
    "Deformable-DETR, two stages": ("detr", "deformable-detr-refine-twostage_r50_16xb2-50e_coco"),
    "DINO": ("detr", "dino-4scale_r50_8xb2-12e_coco"),
    "RetinaNet": ("mmdet", "retinanet_r18_fpn_1x_coco"),
    "FCOS": ("mmdet", "fcos_r50-caffe_fpn_gn-head_1x_coco"),
    "ATSS": ("mmdet", "atss_r50_fpn_1x_coco"),
    "GFL": ("mmdet", "gfl_r50_fpn_1x_coco"),
    "YOLOX-tiny": ("mmdet", "yolox_tiny_8xb8-300e_coco"),
    "RTMDet-tiny": ("mmdet", "rtmdet_tiny_8xb32-300e_coco"),
    "YOLOv3-d53": ("mmdet", "yolov3_d53_8xb8-ms-608-273e_coco"),
    "SSD300": ("mmdet", "ssd300_coco"),
    "YOLOF": ("mmdet", "yolof_r50-c5_8xb8-1x_coco"),
    "FSAF": ("mmdet", "fsaf_r50_fpn_1x_coco"),
    "FreeAnchor": ("mmdet", "freeanchor_r50_fpn_1x_coco"),
    "AutoAssign": ("mmdet", "autoassign_r50-caffe_fpn_1x_coco"),
}
MODELS_BY_CONFIG = {config: adapter for adapter, config in MODELS.values()}
EXPORTERS = ("torchscript", "dynamo")
OPTIONS = {"to": "onnx", "target": "8", "batch": "1:2:3", "cache": False}
"""Of every conversion; the target, since nodes depend on it and its default on what is installed."""
SIZE = (192, 256)
# YOLOv3 and SSD: those of their names. DINO's 900 queries would be nearly all cells of so small an image, those at its rim too, whose positions are infinite
SIZES = {
    "dino-4scale_r50_8xb2-12e_coco": (320, 416),
    "yolov3_d53_8xb8-ms-608-273e_coco": (608, 608),
    "ssd300_coco": (300, 300),
}
LOWEST = 0.05
CLASS_LAYERS = (
    "cls",
    "cls_score",
    "fc_cls",
    "retina_cls",
    "conv_cls",
    "atss_cls",
    "gfl_cls",
    "rtm_cls",
    "cls_branches",
    "cls_convs",
)


def lively(config: str, folder: Path, overrides: Mapping[str, str] = MappingProxyType({})) -> tuple[Path, Path]:
    """A checkpoint of random weights that finds something in an image, and the image; ``overrides`` change the config."""
    import cv2
    import torch

    use_fixtures()
    from draw_shapes import draw_detection_image

    from adaptrt_mmdet.build import build_detector
    from adaptrt_mmdet.configs import load_config

    size = SIZES.get(config, SIZE)
    images = [cv2.resize(draw_detection_image(2002, index).image, size[::-1]) for index in range(4)]
    cv2.imwrite(str(folder / "image.png"), images[0])
    batch = torch.stack([torch.from_numpy(image.transpose(2, 0, 1)).float() for image in images])
    settings = load_config(config, overrides)
    if settings.model.data_preprocessor.get("mean"):  # YOLOX takes pixels as they are
        batch = (batch - batch.mean()) / batch.std()
        if settings.model.data_preprocessor.std[0] == 1:  # SSD only subtracts the mean
            batch *= 58
    detector: Any = build_detector(settings, None)
    norms = [module for module in detector.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for norm in norms:  # running statistics of this batch, as training would leave them
            norm.train()
            norm.momentum, norm.track_running_stats = 1.0, True
        features = detector.extract_feat(batch)
        if MODELS_BY_CONFIG.get(config, "mmdet") == "mmdet":
            detector.bbox_head(features)
        for norm in norms:
            norm.eval()
        for name, parameter in detector.named_parameters():
            if parameter.ndim == 1 or "backbone" not in name:
                parameter += (
                    0.1 * (parameter.std(correction=0) + 0.02) * torch.randn(parameter.shape, generator=generator)
                )
        for name, module in detector.bbox_head.named_modules():
            if getattr(module, "bias", None) is None:
                continue
            parts = name.split(".")
            classes = getattr(detector.bbox_head, "cls_out_channels", detector.bbox_head.num_classes)
            rest = min(module.bias.numel() % count for count in (classes, detector.bbox_head.num_classes))
            if set(parts) & set(CLASS_LAYERS) and rest <= 1:
                module.weight *= 6
                module.bias += 2.0 + 1.5 * torch.randn(module.bias.shape, generator=generator)
            if {"multi_level_conv_cls", "multi_level_conv_obj"} & set(parts):  # YOLOX's last layers start near zero
                module.weight *= 30
                module.bias += 3.0
            if "multi_level_conv_reg" in parts:  # boxes beyond the rim would be clipped to nothing
                module.weight *= 10
                module.bias[2:] += 1.0
            if "convs_pred" in parts:  # YOLOv3: for each anchor four sides, an objectness, and the classes
                module.weight *= 6
                module.bias.view(3, -1)[:, 4:] += 3.0
            if "rtm_reg" in parts:  # distances that are not exponentials would start near zero
                module.bias += 1.5
        if type(detector.bbox_head).__name__ == "SSDHead":  # without normalization, its scores would all be 0 or 1
            maps = detector.bbox_head(detector.extract_feat(batch))[0]
            for layers, level in zip(detector.bbox_head.cls_convs, maps, strict=True):
                for parameter in layers[-1].parameters():
                    parameter *= 3 / level.std()
    torch.save({"state_dict": detector.state_dict()}, folder / "weights.pth")
    return folder / "weights.pth", folder / "image.png"


def threshold(
    adapter: str, config: str, weights: Path, image: Path, overrides: Mapping[str, str] = MappingProxyType({})
) -> float:
    """In the widest gap between the scores that mmdet's predict gives to its 10th to 60th box: no box is near it."""
    from adaptrt_mmdet.build import build_detector
    from adaptrt_mmdet.checkpoints import open_checkpoint
    from adaptrt_mmdet.configs import load_config
    from adaptrt_mmdet.framework import ALL_CANDIDATES, predict
    from adaptrt_mmdet.sources import Source

    checkpoint, settings = open_checkpoint(weights), load_config(config, overrides)
    source = Source(settings, checkpoint, build_detector(settings, checkpoint))
    test = source.detector.test_cfg
    if "nms_pre" in test:  # as in the comparison: random weights have more candidates
        test["nms_pre"] = ALL_CANDIDATES
    scores = sorted(
        predict(source, [image], SIZES.get(config, SIZE), stretch=adapter == "detr")[0].scores.tolist(), reverse=True
    )[9:60]
    gaps = [(above - below, (above + below) / 2) for above, below in itertools.pairwise(scores)]
    return max(gaps)[1] if gaps else LOWEST


def prepare(name: str, folder: Path) -> dict[str, Any]:
    """An entry of ``[[models]]``. Weights and an image are written into ``folder``."""
    adapter, config = MODELS[name]
    weights, image = lively(config, folder)
    own = {"conf": str(threshold(adapter, config, weights, image))}
    if name.startswith("YOLOX"):  # mmdet's keeps everything that passes its NMS
        own["max_det"] = "3000"
    return {
        "name": config,
        "source": config,
        "adapter": adapter,
        "imgsz": "{}x{}".format(*SIZES.get(config, SIZE)),
        "weights": str(weights),
        "image": str(image),
        "set": own,
    }


def row_of(conversion: Conversion) -> dict[str, Any]:
    """What the report says of the conversion."""
    config = conversion.options["source"]
    if conversion.failure:
        failure = conversion.report.get("failure") or {}
        return {"config": config, "passed": False, "failed": conversion.failure, "stage": failure.get("stage", "")}
    result = {
        "config": config,
        "size": list(SIZES.get(config, SIZE)),
        "compared": conversion.link(2)["reason"],
        "passed": all(conversion.link(number)["status"] == "passed" for number in (0, 2, 5)),
        "nodes": conversion.nodes(),
        "conf": round(float(conversion.options["set"]["conf"]), 4),
        "boxes": conversion.boxes(),
        "link 2": _largest(conversion.link(2)["checks"]),
        "link 1": _largest(conversion.link(1)["checks"]),
        "seconds": conversion.seconds,
    }
    if not result["boxes"]:
        result |= {"passed": False, "failed": "nothing is found, so nothing is compared"}
    return result


def _largest(checks: Any) -> dict[str, float]:
    """By name: outputs are compared alone and in batches."""
    found: dict[str, float] = {}
    for check in checks:
        found[check["name"]] = max(found.get(check["name"], 0.0), check["value"])
    return found


def take(root: Path, path: Path) -> None:
    """Add the rows of the sweep in ``root``, which ran on this machine, to the result in ``path``."""
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"models": {}}
    names = {config: name for name, (_, config) in MODELS.items()}
    here = machine("adaptrt", "adaptrt-mmdet", "mmdet", "torch", "onnxruntime")
    if len({conversion.options["source"] for conversion in conversions(root)}) == len(MODELS):
        kept["machine"] = here
    for conversion in conversions(root):
        name, exporter = names[conversion.options["source"]], conversion.options["exporter"]
        row = row_of(conversion)
        if kept.setdefault("machine", here) != here:  # a few rows of another machine
            row["machine"] = here
        kept["models"].setdefault(name, {"adapter": MODELS[name][0]})[exporter] = row
        print(name, exporter, "passed" if row["passed"] else row.get("failed", row), flush=True)
    kept["models"] = {name: kept["models"][name] for name in MODELS if name in kept["models"]}
    kept["batches"] = [1, 2, 3]
    path.write_text(json.dumps(kept, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, metavar="DIR")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MODELS))
    parser.add_argument("--jobs", type=int, default=1, help="prepare so many at a time")
    parser.add_argument("--take", action="store_true", help="add the results of the sweep")
    parser.add_argument(
        "--into", type=Path, default=FOLDER / "detr_family.json", metavar="FILE", help="where results are kept"
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(prepare(options.one, (options.root / INPUTS / options.one).absolute())))
    elif options.take:
        take(options.root, options.into)
    else:
        command = ("-m", "benchmarks.detr.family", str(options.root), "--one")
        write_sweep(
            options.root, command, options.names or list(MODELS), options.jobs, OPTIONS, {"exporter": EXPORTERS}
        )


if __name__ == "__main__":
    main()
