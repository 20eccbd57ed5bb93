"""What the commands are tried on where there is a GPU and no torch: a model, images, and what ONNX Runtime finds in them.

::

    python tests/support/gpu_models.py FOLDER     FOLDER is then $ADAPTRT_GPU_ONNX of tests/gpu/test_commands.py

About 11 MB: ``best.onnx`` (YOLOv5n, batch 1 to 8, for TensorRT 8), ``images/``, ``instances.json`` (what was drawn) and
``expected.json`` (what was found).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
CHECKPOINT = HERE.parent / "fixtures" / "yolov5n_shapes.pt"
IMAGES, SEED = 6, 1003


def write_models(folder: Path) -> None:
    """Needs what a conversion needs, and Ultralytics."""
    sys.path.insert(0, str(CHECKPOINT.parent))
    from draw_shapes import write_detection_set

    import adaptrt

    folder.mkdir(parents=True, exist_ok=True)
    onnx = folder / "best.onnx"
    adaptrt.convert(
        CHECKPOINT,
        adapter="yolov5",
        output=onnx,
        target=8,
        exporter="torchscript",
        opset=17,
        batch=(1, 4, 8),
        cache=False,
        html=False,
    )
    write_detection_set(folder, IMAGES, SEED, suffix=".png")
    with adaptrt.load(onnx) as model:
        expected = {path.name: _boxes(model(path)[0]) for path in sorted((folder / "images").glob("*.png"))}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1))


def _boxes(found: object) -> list[dict[str, object]]:
    """As ``predict --json`` gives them: x1 y1 x2 y2, pixels of the image."""
    from adaptrt import Detections

    assert isinstance(found, Detections)
    return [
        {"label": found.name(index), "score": float(found.scores[index]), "box": found.boxes[index].tolist()}
        for index in range(len(found))
    ]


if __name__ == "__main__":
    write_models(Path(sys.argv[1]))
