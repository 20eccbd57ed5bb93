"""Class maps: drawn, described, recorded and exported."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from adaptrt import InputSpec, ModelError, ModelSpec, SemanticMap
from adaptrt.specs import Found, task_named
from adaptrt.vision.colors import class_color

TASK = task_named("semantic")
NAMES = ("background", "red", "blue")


def half(names: tuple[str, ...] = NAMES, size: tuple[int, int] = (200, 300)) -> SemanticMap:
    """Background at the left, class 1 at the right."""
    labels = np.zeros(size, np.uint8)
    labels[:, size[1] // 2 :] = 1
    return SemanticMap(labels, names)


def test_what_is_found() -> None:
    found = half(size=(10, 40))
    assert TASK.describe(found) == "background 50.0%, red 50.0%"
    assert TASK.data(found)["areas"][1] == {"label": "red", "class": 1, "pixels": 200, "share": 0.5}
    many = SemanticMap(np.arange(7, dtype=np.uint8)[None].repeat(2, 0), ("a",))
    assert TASK.describe(many) == "a 14.3%, class 1 14.3%, class 2 14.3%, class 3 14.3%, class 4 14.3%, 2 more"
    scored = SemanticMap(found.labels, NAMES, np.array([0.5, 0.75, 0], np.float32))
    assert TASK.data(scored)["areas"][1]["score"] == 0.75


def test_a_map_of_a_single_class_is_empty() -> None:
    assert TASK.is_empty(SemanticMap(np.full((4, 5), 2, np.uint8)))
    assert not TASK.is_empty(half())


def test_classes_are_painted_and_the_background_is_not() -> None:
    pytest.importorskip("cv2", reason="images are drawn with OpenCV")
    image = np.full((200, 300, 3), 100, np.uint8)
    drawn = TASK.draw(image, half())
    assert (image == 100).all()
    np.testing.assert_array_equal(drawn[180, 50], [100, 100, 100])
    expected = 0.45 * 100 + 0.55 * np.array(class_color(1))
    np.testing.assert_allclose(drawn[180, 250], expected, atol=1)
    assert drawn[180, 150].min() > expected.min()  # the edge between them is light
    legend = drawn[12:60, 12:120]
    assert (legend == class_color(1)).all(2).any(), "the legend shows the color"
    np.testing.assert_allclose(
        TASK.draw(image, half(("wall", "red")))[180, 50], 45 + 0.55 * np.array(class_color(0)), atol=1
    )


def test_small_images_have_no_legend() -> None:
    pytest.importorskip("cv2", reason="images are drawn with OpenCV")
    for size in ((40, 40), (96, 128)):  # where it would hide what it explains
        drawn = TASK.draw(np.full((*size, 3), 100, np.uint8), half(size=size))
        assert (drawn[:, : size[1] // 2 - 1] == 100).all()


@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)))
    | arrays.arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 2**31 - 1)),
    st.none() | st.just(np.array([0.25, 1], np.float32)),
)
def test_records_are_read_back(labels: Any, scores: Any) -> None:
    import msgspec

    record = msgspec.json.decode(msgspec.json.encode(TASK.record(SemanticMap(labels, NAMES, scores))))
    found = TASK.read_record(record)
    np.testing.assert_array_equal(found.labels, labels)
    assert (found.labels.dtype, found.names) == (labels.dtype, NAMES)
    assert (found.scores is None) == (scores is None)


def test_a_record_is_small() -> None:
    record = TASK.record(half(size=(1080, 1920)))
    assert len(record["labels"]) < 20_000
    assert record["areas"] == {"background": 1_036_800, "red": 1_036_800}


def packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": "no base64!"}, "cannot be read"),
        ({"labels": base64.b64encode(b"no zlib").decode()}, "cannot be read"),
        ({"labels": packed(b"\0" * 11)}, "one label per pixel"),
        ({"labels": packed(b"\0" * 100_000_000)}, "one label per pixel"),
        ({"height": 1 << 40}, "too large"),
        ({"height": True}, "must have height"),
        ({"width": -4}, "must have height"),
        ({"dtype": "float64"}, "must have height"),
        ({"dtype": "int32", "labels": packed(b"\xff" * 48)}, "negative"),
        ({"names": "abc"}, "not a list of text"),
        ({"scores": ["a"]}, "'scores' of a recorded prediction"),
        ({"scores": [1e300]}, "too large"),
    ],
)
def test_records_of_anyone(changes: dict[str, Any], message: str) -> None:
    record = {"height": 3, "width": 4, "dtype": "uint8", "labels": packed(b"\0" * 12), "names": ["a"]}
    assert TASK.read_record(record).labels.shape == (3, 4)
    with pytest.raises(ModelError, match=message):
        TASK.read_record({**record, **changes})


def test_exports() -> None:
    cv2 = pytest.importorskip("cv2", reason="masks are encoded by OpenCV")
    wide = SemanticMap(np.array([[0, 300]], np.int32), NAMES)
    found = [Found("a", Path("x/a.jpg"), (10, 40), half(size=(10, 40))), Found("b", Path("b.png"), (1, 2), wide)]
    files = dict(TASK.export("png", found))
    assert list(files) == ["a.png", "b.png"]
    for name, one in zip(files, found, strict=True):
        mask = cv2.imdecode(np.frombuffer(files[name], np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(mask, one.prediction.labels)
    ((_, table),) = TASK.export("csv", found)
    assert table.decode().splitlines()[:2] == ["image,label,class,pixels,share", "x/a.jpg,background,0,200,0.5"]


def test_what_is_wrong_with_a_map() -> None:
    spec = ModelSpec((InputSpec.image(8, 8),), task="semantic", labels=NAMES)
    assert TASK.problems(half(), spec, (200, 300)) == []
    assert "one per pixel" in TASK.problems(half(), spec, (300, 200))[0]
    assert "uint8 or int32" in TASK.problems(SemanticMap(np.zeros((4, 4), np.float32)), spec, (4, 4))[0]  # type: ignore[arg-type]
    (problem,) = TASK.problems(SemanticMap(np.full((4, 4), 3, np.uint8)), spec, (4, 4))
    assert problem == "labels must be from 0 to 2, the classes of the spec; got 3 to 3"
