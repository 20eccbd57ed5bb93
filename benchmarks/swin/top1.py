"""Top-1 of the Swin fixture on held-out images: with timm's own loader and transform, and with every backend of ``evaluate``.

::

    python -m benchmarks.swin.top1 --images 1000      results/swin_top1.json
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.common.fixture_scores import FIXTURES, count_of_images, keep, scratch, through_backends
from benchmarks.common.results import machine, use_fixtures

FIXTURE = FIXTURES / "swin_shapes"
SEED = 2003  # neither trained on nor what the training script measures on


def top1_of_timm(classes: Path) -> float:
    """Top-1 in percent."""
    import timm
    import torch
    from PIL import Image
    from timm.data import create_transform, resolve_data_config

    model = timm.create_model(f"local-dir:{FIXTURE}", pretrained=True).eval()
    transform = create_transform(**resolve_data_config({}, model=model))
    names = model.pretrained_cfg["label_names"]
    right: list[bool] = []
    with torch.inference_mode():
        for path in sorted(classes.glob("*/*.png")):
            logits = model(transform(Image.open(path).convert("RGB"))[None])
            right.append(names[int(logits.argmax())] == path.parent.name)
    return 100 * sum(right) / len(right)


def main() -> None:
    images = count_of_images(__doc__, 1000)
    use_fixtures()
    from draw_shapes import write_classification_set

    import adaptrt

    scores: dict[str, float] = {}
    result: dict[str, Any] = {
        "machine": machine("adaptrt", "adaptrt-timm", "timm", "torch", "onnxruntime"),
        "images": images,
        "seed": SEED,
        "top-1 (%)": scores,
        "same top-1 as eager (%)": {},
    }
    with scratch() as folder:
        data = write_classification_set(folder, images, SEED)
        scores["timm"] = top1_of_timm(data)
        report = adaptrt.convert(FIXTURE, adapter="swin", output=folder / "out.onnx", batch="1:8:8", html=False)
        for name, one in through_backends(folder / "out.onnx", data, report):
            scores[name] = 100 * one.scores["top-1"]
            if one.same is not None:
                result["same top-1 as eager (%)"][name] = 100 * one.same
    keep("swin_top1", result, ("pipeline", "top-1"), [(name, round(score, 2)) for name, score in scores.items()])


if __name__ == "__main__":
    main()
