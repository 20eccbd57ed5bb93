"""Top-1 of the Swin fixture on held-out pictures: timm's own loader and transform, then every backend of ``evaluate``.

::

    python benchmarks/swin_top1.py --pictures 1000      results/swin_top1.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from results import FOLDER, machine, table

ROOT = Path(__file__).parents[1]
FIXTURE = ROOT / "tests" / "fixtures" / "swin_shapes"
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=1000)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests" / "fixtures"))
    from draw_shapes import write_classification_set

    import adaptrt
    from adaptrt.evaluation import evaluate

    scores: dict[str, float] = {}
    result: dict[str, Any] = {
        "machine": machine("adaptrt", "adaptrt-timm", "timm", "torch", "onnxruntime"),
        "pictures": options.pictures,
        "seed": SEED,
        "top-1 (%)": scores,
        "same top-1 as eager (%)": {},
    }
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        os.environ["ADAPTRT_CACHE_DIR"] = text
        data = write_classification_set(folder, options.pictures, SEED)
        scores["timm"] = top1_of_timm(data)
        adaptrt.convert(FIXTURE, adapter="swin", output=folder / "out.onnx", batch="1:8:8", html=False)
        for batch in (1, 8):
            found = evaluate([folder / "out.onnx"], data, backends=["eager", "onnxruntime"], batch=batch)
            for one in found.results:
                name = f"{one.backend} batch {batch}"
                scores[name] = 100 * one.scores["top-1"]
                if one.same is not None:
                    result["same top-1 as eager (%)"][name] = 100 * one.same
    (FOLDER / "swin_top1.json").write_text(json.dumps(result, indent=2) + "\n")
    table(("road", "top-1"), [(name, round(score, 2)) for name, score in scores.items()])


if __name__ == "__main__":
    main()
