from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("mmengine", reason="needs mmengine")
pytest.importorskip("mmcv", reason="needs mmcv or mmcv-lite")
pytest.importorskip("mmdet", reason="needs mmdet")


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images like those that the fixture was trained on, held out: a folder with images/ and instances.json."""
    from draw_shapes import write_detection_set
    from train_detr import HELD_OUT_SEED, LOOK

    folder = tmp_path_factory.mktemp("shapes")
    write_detection_set(folder, 8, HELD_OUT_SEED, LOOK, suffix=".png")
    return folder
