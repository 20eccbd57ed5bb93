"""How folders become classes, and predictions scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptrt import Classification, InputSpec, ModelSpec, UsageError
from adaptrt.tasks.classify.scoring import ClassScoring, TopScores, read_class_folders


def spec(*labels: str) -> ModelSpec:
    return ModelSpec(inputs=(InputSpec.image(8, 8),), task="classify", labels=labels)


def folders(root: Path, *names: str) -> Path:
    for name in names:
        (root / name / "deeper").mkdir(parents=True)
        (root / name / "one.png").touch()
        (root / name / "deeper" / "two.JPG").touch()
        (root / name / "notes.txt").touch()
    return root


def classes(data: Path, model: ModelSpec) -> dict[str, int]:
    examples = read_class_folders(data, model).examples
    assert [example.path.name for example in examples[:2]] == ["two.JPG", "one.png"]
    return {example.path.relative_to(data).parts[0]: example.truth for example in examples}


def test_folders_named_like_the_classes(tmp_path: Path) -> None:
    data = folders(tmp_path, "Golden_Retriever", "cat")
    assert classes(data, spec("cat", "fox", "golden retriever")) == {"Golden_Retriever": 2, "cat": 0}
    assert read_class_folders(data, spec("cat", "fox", "golden retriever")).notes == ()


def test_folders_named_by_number(tmp_path: Path) -> None:
    data = folders(tmp_path, "0", "02", "10")
    assert classes(data, spec(*"abcdefghijk")) == {"0": 0, "02": 2, "10": 10}
    assert classes(data, spec()) == {"0": 0, "02": 2, "10": 10}


def test_other_names_count_in_order_and_that_is_said(tmp_path: Path) -> None:
    data = folders(tmp_path, "n02", "n01", ".hidden")
    assert classes(data, spec("cat", "dog")) == {"n01": 0, "n02": 1}
    assert "alphabetical order" in read_class_folders(data, spec("cat", "dog")).notes[0]


def test_empty_folders_are_no_classes(tmp_path: Path) -> None:
    data = folders(tmp_path, "cat")
    (data / "dog").mkdir()
    assert classes(data, spec("cat", "dog")) == {"cat": 0}


@pytest.mark.parametrize(
    ("names", "labels", "words"),
    [
        (["cat", "dgo"], ("cat", "dog"), "Did you mean 'dog'"),
        (["0", "7"], ("cat", "dog"), "'0' does not match a class"),
        (["n01"], ("cat", "dog"), "2 classes"),
        ([], ("cat",), "no subfolder with images"),
    ],
)
def test_an_ambiguous_order_of_classes_is_an_error(
    names: list[str], labels: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    data = folders(tmp_path, *names)
    with pytest.raises(UsageError) as caught:
        read_class_folders(data, spec(*labels))
    assert words in str(caught.value)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        read_class_folders(tmp_path / "val", spec())


@given(st.integers(1, 30), st.integers(0, 40), st.randoms())
def test_scores_are_what_counting_gives(classes: int, images: int, random: object) -> None:
    rng = np.random.default_rng(random.randrange(1 << 30))  # type: ignore[attr-defined]
    scorer, first, best = TopScores(classes), 0, 0
    for _ in range(images):
        order, truth = rng.permutation(classes)[:5], int(rng.integers(classes))
        scorer.add(truth, Classification(np.linspace(1, 0, len(order), dtype=np.float32), order.astype(np.int64)))
        first += int(order[0]) == truth
        best += truth in order.tolist()
    expected = {"top-1": first / max(images, 1), "top-5": best / max(images, 1)}
    assert scorer.scores() == (expected if classes > 5 else {"top-1": expected["top-1"]})


def test_the_loss_is_torchs() -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    logits, truths = torch.randn(7, 9, generator=torch.Generator().manual_seed(0)) * 4, list(range(7))
    scorer, scoring = TopScores(9), ClassScoring()
    for row, truth in zip(logits.softmax(1).numpy(), truths, strict=True):
        order = np.argsort(-row)
        found = Classification(row[order], order)
        np.testing.assert_array_equal(scoring.values(found), row)
        scorer.add(truth, found)
    expected = float(torch.nn.functional.cross_entropy(logits, torch.tensor(truths)))
    assert scorer.figures() == {"loss": pytest.approx(expected, rel=1e-5)}
    scorer.add(8, Classification(np.float32([1.0]), np.array([0])))
    assert scorer.figures() == {}, "the score of the right class is not there"


def test_confidence_is_the_score_of_the_right_class() -> None:
    prediction = Classification(np.array([0.75, 0.2, 0.05], np.float32), np.array([2, 0, 1]))
    found = [ClassScoring().confidence(truth, prediction) for truth in (0, 1, 2, 3)]
    assert found == pytest.approx([0.2, 0.05, 0.75, 0.0])
