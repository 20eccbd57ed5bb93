"""Masks and scores: what counting by hand gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from adaptrt import ImageError, InputSpec, ModelSpec, SemanticMap, UsageError
from adaptrt.specs import precision_named, task_named
from adaptrt.tasks.semantic.agreement import describe_agreement
from adaptrt.tasks.semantic.scoring import MaskScores, read_mask, read_masks

Image = pytest.importorskip("PIL.Image", reason="masks are read by Pillow")

NAMES = ("background", "red", "blue")
SPEC = ModelSpec((InputSpec.image(8, 8),), task="semantic", labels=NAMES)


def save(path: Path, pixels: Any, mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(pixels, np.uint8))
    if mode == "P":
        image = Image.fromarray(np.asarray(pixels, np.uint8), mode="P")
        image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200] * 85)
    image.save(path)
    return path


def test_masks_beside_images(tmp_path: Path) -> None:
    for name in ("a.jpg", "night/b.png", "alone.png"):
        save(tmp_path / "images" / name, np.zeros((4, 4, 3)))
    for name in ("a.png", "night/b.png", "other.png"):
        save(tmp_path / "masks" / name, np.zeros((4, 4)))
    found = read_masks(tmp_path)
    names = [(one.path.name, one.truth.relative_to(tmp_path).as_posix()) for one in found.examples]
    assert names == [("a.jpg", "masks/a.png"), ("b.png", "masks/night/b.png")]
    assert found.notes == ("1 images without a mask are skipped",)
    (tmp_path / "masks").rename(tmp_path / "labels")
    (tmp_path / "images").rename(tmp_path / "photos")
    assert len(read_masks(tmp_path, tmp_path / "photos").examples) == 2


def test_folders_that_are_missing(tmp_path: Path) -> None:
    (tmp_path / "instances.json").write_text("{}")
    with pytest.raises(UsageError, match="instances.json is not a folder"):
        read_masks(tmp_path / "instances.json")
    with pytest.raises(UsageError, match="Folder not found: .*masks or .*labels"):
        read_masks(tmp_path)
    (tmp_path / "masks").mkdir()
    with pytest.raises(UsageError, match="Folder not found: .*images"):
        read_masks(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(UsageError, match="no image with a mask") as caught:
        read_masks(tmp_path)
    assert "255 is ignored" in (caught.value.hint or "")


def test_a_palette_is_read_as_indices(tmp_path: Path) -> None:
    indices = np.array([[0, 1], [2, 255]])
    for mode in (None, "P"):
        np.testing.assert_array_equal(read_mask(save(tmp_path / "m.png", indices, mode)), indices)
    with pytest.raises(ImageError, match="has colors"):
        read_mask(save(tmp_path / "c.png", np.zeros((2, 2, 3))))
    (tmp_path / "no.png").write_bytes(b"text")
    with pytest.raises(ImageError, match="cannot be read"):
        read_mask(tmp_path / "no.png")


def test_scores_by_hand(tmp_path: Path) -> None:
    mask = save(tmp_path / "m.png", [[0, 0, 1, 1], [0, 255, 1, 1]])
    scorer = MaskScores(NAMES)
    scorer.add(mask, SemanticMap(np.array([[0, 0, 1, 1], [1, 2, 1, 0]], np.uint8), NAMES))
    # background: 2 of 4, red: 3 of 5; what is ignored in the mask counts nowhere, blue occurs nowhere
    assert scorer.scores() == pytest.approx({"mIoU": (2 / 4 + 3 / 5) / 2, "pixel accuracy": 5 / 7})
    assert scorer.per_class() == {"background": {"pixels": 3, "IoU": 0.5}, "red": {"pixels": 4, "IoU": 0.6}}
    scorer.add(mask, SemanticMap(np.array([[2, 0, 1, 1], [0, 2, 1, 1]], np.uint8), NAMES))
    assert scorer.per_class()["background"] == {"pixels": 6, "IoU": 4 / 7}
    assert scorer.scores()["mIoU"] == pytest.approx((4 / 7 + 7 / 9 + 0) / 3)
    assert [record["mask"] for record in scorer.records()] == ["m.png", "m.png"]


def test_masks_that_do_not_fit(tmp_path: Path) -> None:
    scorer = MaskScores(NAMES)
    with pytest.raises(ImageError, match="is 3 x 2, but its image is 2 x 3"):
        scorer.add(save(tmp_path / "m.png", np.zeros((2, 3))), SemanticMap(np.zeros((3, 2), np.uint8)))
    with pytest.raises(UsageError, match="contains class 7; the model has 3 classes"):
        scorer.add(save(tmp_path / "m.png", np.full((2, 2), 7)), SemanticMap(np.zeros((2, 2), np.uint8)))
    unnamed = MaskScores(())
    unnamed.add(tmp_path / "m.png", SemanticMap(np.full((2, 2), 7, np.uint8)))
    assert unnamed.scores() == {"mIoU": 1.0, "pixel accuracy": 1.0}


@pytest.mark.parametrize("largest", [-5, 5000, 65535, 2**31 - 1])
def test_class_numbers_decide_no_memory(tmp_path: Path, largest: int) -> None:
    """A mask, and the output of a file without labels, may contain any number; counts need its square."""
    path, few = tmp_path / "m.tif", np.zeros((2, 2), np.int32)
    many = few.copy()
    many[0, 0] = largest
    scores = MaskScores(())
    Image.fromarray(many).save(path)
    with pytest.raises(UsageError, match="at most 4096 can be scored|negative numbers"):
        scores.add(path, SemanticMap(few))
    Image.fromarray(few).save(path)
    if largest > 0:
        with pytest.raises(UsageError, match="at most 4096 can be scored"):
            scores.add(path, SemanticMap(many))
    for metric in task_named("semantic").metrics(SPEC, precision_named("fp32")):
        assert metric.compute([SemanticMap(many)], [SemanticMap(many)]) == 1.0


def test_a_model_of_too_many_classes() -> None:
    with pytest.raises(UsageError, match="has 100000 classes"):
        MaskScores(("x",) * 100_000)


maps = st.integers(1, 3).flatmap(
    lambda count: st.tuples(*[arrays.arrays(np.uint8, (count, 6, 7), elements=st.integers(0, 3)) for _ in range(2)])
)


@given(maps)
def test_metrics_are_what_counting_gives(pair: Any) -> None:
    expected, actual = ([SemanticMap(labels) for labels in side] for side in pair)
    accuracy, miou, *_ = task_named("semantic").metrics(SPEC, precision_named("fp32"))
    assert accuracy.compute(expected, actual) == pytest.approx((pair[0] == pair[1]).mean())
    ious = [
        ((pair[0] == label) & (pair[1] == label)).sum() / ((pair[0] == label) | (pair[1] == label)).sum()
        for label in range(4)
        if ((pair[0] == label) | (pair[1] == label)).any()
    ]
    assert miou.compute(expected, actual) == pytest.approx(np.mean(ious))


def test_metrics_fail_where_they_should() -> None:
    """A lost class of half a percent changes few pixels; mIoU sees it."""
    large = np.zeros((100, 100), np.uint8)
    large[:, 50:] = 1
    small = large.copy()
    small[:5, :10] = 2
    accuracy, miou, *_ = task_named("semantic").metrics(SPEC, precision_named("fp16"))
    assert accuracy.minimum is not None
    assert miou.minimum is not None
    assert accuracy.compute([SemanticMap(small)], [SemanticMap(large)]) > accuracy.minimum
    assert miou.compute([SemanticMap(small)], [SemanticMap(large)]) < miou.minimum
    with pytest.raises(ValueError, match="cannot be compared"):
        miou.compute([SemanticMap(small)], [SemanticMap(large[:50])])


def test_agreement_in_words() -> None:
    one, other = SemanticMap(np.zeros((10, 10), np.uint8)), np.zeros((10, 10), np.uint8)
    assert describe_agreement(one, SemanticMap(other)) == "every pixel has the same class"
    other[0, 0] = 1
    assert describe_agreement(one, SemanticMap(other)) == "99.000% of the pixels have the same class"
    assert describe_agreement(one, SemanticMap(other[:5])) == "the two maps have different sizes"
