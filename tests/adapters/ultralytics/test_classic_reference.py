"""A checkpoint that somebody trained, against what the original code computes with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
ultralytics = pytest.importorskip("ultralytics", reason="needs the package ultralytics")
cv2 = pytest.importorskip("cv2", reason="needs opencv-python")

from adaptrt_ultralytics.classic.model import load_classic  # noqa: E402

SHARED = Path(__file__).parents[4] / "shared" / "weights"
WEIGHTS, REFERENCE = SHARED / "yolov5n_ppe.pt", SHARED / "yolov5n_ppe_reference.npz"
SLICE = Path(__file__).parent / "data" / "yolov5n_ppe_slice.npz"
TOLERANCE = 1e-4  # of each column's range

pytestmark = pytest.mark.skipif(
    not WEIGHTS.exists(), reason=f"{WEIGHTS.name} (AGPL-3.0, not shipped) is not in ../shared"
)


@pytest.fixture(scope="module")
def outputs() -> dict[str, Any]:
    model = load_classic(WEIGHTS)
    assert model.names == {0: "helmet", 1: "vest"}
    image = cv2.imread(str(Path(ultralytics.__file__).parent / "assets" / "bus.jpg"))
    image = cv2.resize(image, (640, 640), interpolation=cv2.INTER_LINEAR)[..., ::-1].transpose(2, 0, 1)[None]
    inputs = {
        "noise": np.random.default_rng(0).random((2, 3, 320, 416), dtype=np.float32),
        "bus": np.ascontiguousarray(image, dtype=np.float32) / np.float32(255),
    }
    with torch.no_grad():
        return {name: model(torch.from_numpy(array)).numpy() for name, array in inputs.items()}


def test_a_slice_of_the_reference(outputs: dict[str, Any]) -> None:
    reference = np.load(SLICE)
    for name in ("noise", "bus"):
        rows, span = reference[f"{name}_rows"], reference[f"{name}_range"]
        difference = np.abs(outputs[name][:, rows] - reference[f"{name}_output"]).reshape(-1, 7).max(0)
        assert (difference <= TOLERANCE * span).all(), difference / span


@pytest.mark.skipif(not REFERENCE.exists(), reason=f"{REFERENCE.name} is not in ../shared")
def test_the_whole_reference(outputs: dict[str, Any]) -> None:
    reference = np.load(REFERENCE)
    for name in ("noise", "bus"):
        expected = reference[f"{name}_output"]
        assert outputs[name].shape == expected.shape
        columns = expected.reshape(-1, 7)
        span = columns.max(0) - columns.min(0)
        difference = np.abs(outputs[name] - expected).reshape(-1, 7).max(0)
        assert (difference <= TOLERANCE * span).all(), difference / span
