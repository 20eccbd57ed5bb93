"""``-o NAME/``, where NAME alone would be a file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from adaptrt.errors import OutputError

Converted = Callable[[str], Path]

pytestmark = pytest.mark.usefixtures("here")


def test_a_slash_names_a_folder(adaptrt: Any, converted: Converted, image: Path, tiny: str) -> None:
    model = converted("detector")
    for words, written in (
        (("predict", model, image, "-o", "a/found.png/"), "a/found.png/image.png"),
        (("run", model, "--image", image, "-o", "maps.npz/"), "maps.npz/output0.png"),
        (("convert", "detector", "-a", tiny, "--verify", "none", "-o", "out.onnx/"), "out.onnx/detector.onnx"),
    ):
        result = adaptrt(*words)
        assert result.code == 0, result.err
        assert Path(written).is_file(), sorted(Path().rglob("*"))


@pytest.mark.parametrize(
    "words",
    [
        ("clean", "MODEL", "-o", "a/x.onnx/"),
        ("bench", "MODEL", "-o", "a/x.html/"),
        ("inspect", "MODEL", "--graph", "svg", "-o", "a/x.svg/"),
        ("tune", "MODEL", "--images", ".", "-o", "a/x.toml/"),
    ],
)
def test_a_command_that_writes_a_file_takes_no_folder(
    adaptrt: Any, converted: Converted, words: tuple[str, ...]
) -> None:
    model = converted("detector")
    result = adaptrt(*(model if word == "MODEL" else word for word in words))
    assert result.code == 2
    assert "a/x" in result.err
    assert list(Path().iterdir()) == []


def test_a_file_is_not_a_folder(adaptrt: Any, converted: Converted, image: Path) -> None:
    Path("found.png").write_bytes(b"kept")
    result = adaptrt("predict", converted("detector"), image, "-o", "found.png/")
    assert result.code == 2
    assert result.err.startswith("Error: found.png is not a folder.")
    assert Path("found.png").read_bytes() == b"kept"


def test_a_folder_with_a_dot_in_its_name_holds_drawn_tensors(adaptrt: Any, converted: Converted, image: Path) -> None:
    Path("maps.v2").mkdir()
    assert adaptrt("run", converted("detector"), "--image", image, "-o", "maps.v2").code == 0
    assert [path.name for path in Path("maps.v2").iterdir()] == ["output0.png"]


def test_a_slash_in_a_call(converted: Converted, tiny: str) -> None:
    import adaptrt

    report = adaptrt.convert("detector", adapter=tiny, verify="none", html=False, output="a/out.onnx/")
    assert report.onnx == Path("a/out.onnx/detector.onnx")
    assert report.onnx.is_file()


def test_a_call_that_writes_a_file_takes_no_folder(converted: Converted) -> None:
    import adaptrt

    model = converted("detector")
    for call, name in ((partial(adaptrt.tune, model, images="."), "x.toml"), (partial(adaptrt.clean, model), "x.onnx")):
        with pytest.raises(OutputError, match=name):
            call(output=f"a/{name}/")
        assert list(Path().iterdir()) == []


def test_a_call_that_cannot_create_the_folder(converted: Converted) -> None:
    import adaptrt

    Path("out.onnx").write_bytes(b"kept")
    with pytest.raises(OutputError, match="is not a folder") as caught:
        adaptrt.build(converted("detector"), output="out.onnx/")
    assert caught.value.hint == "Choose another folder with output."
    assert Path("out.onnx").read_bytes() == b"kept"
