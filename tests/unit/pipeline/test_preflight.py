"""What is rejected before the model is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptrt import NmsRequest, Request, UsageError
from adaptrt.pipeline.preflight import require_possible
from adaptrt.request import NmsKind


@pytest.mark.parametrize(("kind", "target", "message"), [("efficient", "11", "plugin"), ("onnx", "rtx", "no kernel")])
def test_nms_that_the_target_does_not_run(tmp_path: Path, kind: NmsKind, target: str, message: str) -> None:
    missing = str(tmp_path / "missing.pt")  # rejected before the source is looked at
    with pytest.raises(UsageError, match=message):
        require_possible(Request(missing, "torch", nms=NmsRequest(kind=kind), target=target, to=("onnx",)))
