"""An extension or backend is imported for every conversion: what it works with comes later, where it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("package", "heavy"),
    [
        ("adaptrt_mlflow", {"mlflow", "sqlalchemy", "torch", "onnx", "numpy", "jinja2"}),
        ("adaptrt_modelopt", {"modelopt", "torch", "onnx", "numpy"}),
        ("adaptrt_ray", {"ray", "pyarrow", "torch", "onnx", "numpy"}),
        ("adaptrt_triton", {"tritonclient", "google.protobuf", "torch", "onnx", "numpy"}),
        ("adaptrt_openvino.backend", {"openvino", "torch", "onnx", "numpy"}),
    ],
)
def test_importing_it_is_cheap(package: str, heavy: set[str]) -> None:
    pytest.importorskip(package, reason=f"needs {package}")
    program = f"import sys, {package}\nheavy = {heavy!r} & set(sys.modules)\nassert not heavy, heavy\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
