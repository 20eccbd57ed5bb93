"""The trained networks of tests/fixtures as OpenVINO models, compared with the untouched networks on images."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trained_models import FIXTURES, TRAINED

pytest.importorskip("adaptrt_openvino", reason="the extension is not installed (pip install adaptrt-openvino)")
pytest.importorskip("openvino", reason="needs OpenVINO (pip install 'adaptrt-openvino[openvino]')")

import adaptrt
from adaptrt import Report
from adaptrt.errors import BuildError, VerificationError
from adaptrt.specs import precision_named
from adaptrt.specs.backends import BACKENDS
from adaptrt_openvino.runtime import new_core
from adaptrt_openvino.saturation import int8_saturates

pytestmark = pytest.mark.full

# what the convolutions and matrix products of a model are executed in
FLOAT = {"f32", "i32"}
LAYERS = {"fp32": FLOAT, "fp16": FLOAT, "bf16": {"bf16", *FLOAT}, "int8": {"i8", "u8", *FLOAT}}

REFUSED = {
    ("obb", "int8"): r"Link 4 .* matched boxes",
    ("detr", "int8"): r"Link 4 .* matched boxes",
    ("mask_rcnn", "bf16"): "OpenVINO does not compute this model in bf16 on ",
}
"""What a processor may not do well enough (seen on a Xeon with AMX): the error says so, and nothing is written."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("drawn")
    subprocess.run([sys.executable, FIXTURES / "draw_shapes.py", folder, "--count", "16", "--seed", "7"], check=True)
    return sorted((folder / "images").glob("*.jpg"))


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory, images: list[Path]) -> Callable[[str], Report]:
    """The network, converted once, in float32 with a dynamic batch."""
    made: dict[str, Report] = {}

    def convert(name: str) -> Report:
        model = TRAINED[name]
        pytest.importorskip(model.framework, reason=f"adapter {model.adapter} needs {model.framework}")
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            options = {"to": "onnx,openvino", "batch": "1:2:4", "image": images[1], "verify": "quick", "html": False}
            source, output = model.write(folder), folder / "out.onnx"
            made[name] = adaptrt.convert(source, adapter=model.adapter, output=output, **{**model.options, **options})
        return made[name]

    return convert


@pytest.mark.parametrize("name", TRAINED)
def test_converted_networks(name: str, converted: Callable[[str], Report]) -> None:
    report = converted(name)
    assert [report.link(number).status for number in (2, 4, 5)] == ["passed"] * 3, report.link(4).reason
    (artifact,) = report.artifacts
    assert artifact.record["layers"].keys() <= LAYERS["fp32"]


@pytest.mark.parametrize(
    ("precision", "batch"), [("fp32", 2), *((precision, None) for precision in LAYERS if precision != "fp32")]
)
@pytest.mark.parametrize("name", TRAINED)
def test_built_networks(
    name: str, precision: str, batch: int | None, converted: Callable[[str], Report], images: list[Path], tmp_path: Path
) -> None:
    backend = BACKENDS.find("openvino")
    unsupported = backend.express(precision_named(precision), backend.targets["openvino"]).unsupported
    if unsupported:
        pytest.skip(unsupported)
    given: dict[str, Any] = {"batch": batch} if batch else {}
    verified = True
    if precision == "int8":
        verified = not int8_saturates(new_core())  # there the results differ, and link 4 says so
        given |= {"calib": images[0].parent, "verify": "quick" if verified else "none"}
    source, output = converted(name).onnx, tmp_path / "out.openvino.xml"
    try:
        report = adaptrt.build(
            source,  # type: ignore[arg-type]
            to="openvino",
            output=output,
            precision=precision,
            image=images[1],
            html=False,
            **{"verify": "quick", **given},
        )
    except (BuildError, VerificationError) as error:
        if not re.match(REFUSED.get((name, precision), "$"), error.message):
            raise
        assert not output.exists()
        return
    assert report.link(4).status == ("passed" if verified else "not run"), report.link(4).reason
    (artifact,) = report.artifacts
    assert artifact.record["layers"].keys() <= LAYERS[precision]
    assert (tmp_path / "out.openvino.xml").exists()
