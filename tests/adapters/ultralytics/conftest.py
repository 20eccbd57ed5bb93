"""Networks of the repository ``ultralytics/yolov5``, and their checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from classic_networks import Classic

pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("ultralytics", reason="needs the package ultralytics")


@pytest.fixture
def classic(tmp_path: Path) -> Classic:
    from classic_networks import Classic

    return Classic(tmp_path)
