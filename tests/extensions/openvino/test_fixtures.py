"""The trained networks of tests/fixtures as OpenVINO models, compared with the untouched networks on images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from trained_models import FIXTURES, TRAINED

pytest.importorskip("adaptrt_openvino", reason="the extension is not installed (pip install adaptrt-openvino)")
pytest.importorskip("openvino", reason="needs OpenVINO (pip install 'adaptrt-openvino[openvino]')")

import adaptrt
from adaptrt.specs import precision_named
from adaptrt.specs.backends import BACKENDS

BACKEND = BACKENDS.find("openvino")
# what the convolutions and matrix products of a model are executed in
LAYERS = {
    "fp32": {"f32", "i32"},
    "fp16": {"f32", "i32"},
    "bf16": {"bf16", "f32", "i32"},
    "int8": {"i8", "u8", "f32", "i32"},
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("drawn")
    subprocess.run([sys.executable, FIXTURES / "draw_shapes.py", folder, "--count", "16", "--seed", "7"], check=True)
    return sorted((folder / "images").glob("*.jpg"))


@pytest.mark.full
@pytest.mark.parametrize("batch", ["1:2:4", 2])
@pytest.mark.parametrize("precision", list(LAYERS))
@pytest.mark.parametrize("name", list(TRAINED))
def test_trained_networks(name: str, precision: str, batch: Any, images: list[Path], tmp_path: Path) -> None:
    model = TRAINED[name]
    pytest.importorskip(model.framework, reason=f"adapter {model.adapter} needs {model.framework}")
    unsupported = BACKEND.express(precision_named(precision), BACKEND.targets["openvino"]).unsupported
    if unsupported:
        pytest.skip(unsupported)
    report = adaptrt.convert(
        model.write(tmp_path),
        adapter=model.adapter,
        to="onnx,openvino",
        output=tmp_path / "out.onnx",
        precision=precision,
        batch=batch,
        image=images[1],
        calib=images[2].parent if precision == "int8" else None,
        verify="quick",
        html=False,
        **model.options,
    )
    assert [report.link(number).status for number in (2, 4, 5)] == ["passed"] * 3, report.link(4).reason
    (artifact,) = report.artifacts
    assert artifact.record["layers"].keys() <= LAYERS[precision]
    assert (tmp_path / "out.openvino.xml").exists()
