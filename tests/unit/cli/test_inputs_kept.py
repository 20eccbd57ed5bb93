"""No output of a command replaces a file that it reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Converted = Callable[[str], Path]

pytestmark = pytest.mark.usefixtures("here")


@pytest.mark.parametrize(
    ("words", "flag", "name"),
    [
        ("adopt M -o M --decoder raw", "-o", "detector.onnx"),
        ("clean M -o ./detector.onnx", "-o", "./detector.onnx"),
        ("compare M other.onnx --html M", "--html", "detector.onnx"),
        ("compare eager M --source net.py:build --html net.py", "--html", "net.py"),
        ("compare eager M --source best.pt --html best.pt", "--html", "best.pt"),
        ("compare eager M --source net:build --weights best.pt --save-inputs best.pt", "--save-inputs", "best.pt"),
        ("compare eager M --source net:build -s config=net.py --html net.py", "--html", "net.py"),
        ("compare M other.onnx --plugins plugins.toml --html plugins.toml", "--html", "plugins.toml"),
        ("compare M other.onnx --inputs in.npz --save-inputs in.npz", "--save-inputs", "in.npz"),
        ("compare M other.onnx --save-results other.onnx", "--save-results", "other.onnx"),
        ("engine unwrap a.engine -o a.engine", "-o", "a.engine"),
        ("inspect M --graph svg -o M", "-o", "detector.onnx"),
        ("inspect M --graph svg --comparison other.onnx -o other.onnx", "-o", "other.onnx"),
        ("predict M image.png -o .", "-o", "image.png"),
        ("predict M image.png --stream -o .", "-o", "image.png"),
        ("run M --inputs in.npz -o in.npz", "-o", "in.npz"),
        ("run M --image output0.png -o .", "-o", "output0.png"),
    ],
)
def test_inputs_are_kept(adaptrt: Any, converted: Converted, image: Path, words: str, flag: str, name: str) -> None:
    model = converted("detector")
    for given in ("detector.onnx", "other.onnx"):
        Path(given).write_bytes(model.read_bytes())
    for given in ("image.png", "output0.png"):
        Path(given).write_bytes(image.read_bytes())
    np.savez("in.npz", images=np.zeros((1, 3, 64, 64), np.float32))
    for given in ("a.engine", "best.pt", "net.py", "plugins.toml"):
        Path(given).write_bytes(b"")
    before = {path: path.read_bytes() for path in Path().iterdir()}
    result = adaptrt(*("detector.onnx" if word == "M" else word for word in words.split()))
    assert result.code == 2, result.err
    shown = str(Path(name))
    assert result.err == (
        f"Error: {flag} would overwrite the input {shown}.\nChoose another name or folder with {flag}.\n"
    )
    assert {path: path.read_bytes() for path in Path().iterdir()} == before
