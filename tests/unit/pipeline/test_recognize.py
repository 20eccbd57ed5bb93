"""``convert`` without an adapter: one exact match is taken, everything else is listed and nothing is converted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import adaptrt
from adaptrt import Conversion, Request, UsageError
from adaptrt.pipeline.recognize import load_model, recognize, wrong_adapter
from adaptrt.specs import registry

RECOGNIZER = """
from adaptrt import Match

class Own:
    name = {name!r}

    def recognize(self, facts):
        {body}

recognizer = Own()
"""
Declare = Callable[..., None]


@pytest.fixture
def declare(fake_distribution: Callable[..., Path]) -> Declare:
    """``declare("zebra", "return ...")``: a distribution with an adapter and a recognizer of this name."""

    def give(name: str, body: str, adapter: str | None = None) -> None:
        groups = {"adaptrt.adapters": {name: name}, "adaptrt.recognizers": {name: f"recognize_{name}:recognizer"}}
        fake_distribution(
            f"adaptrt-{name}", groups, modules={f"recognize_{name}": RECOGNIZER.format(name=name, body=body)}
        )
        registry.forget_declared()

    return give


def answer(name: str, certainty: str, more: str = "") -> str:
    return f"return [Match(adapter={name!r}, certainty={certainty!r}, reason='stripes in ' + facts.source{more})]"


def test_one_exact_match_is_taken(declare: Declare) -> None:
    declare("zebra", answer("zebra", "exact"))
    declare("horse", answer("horse", "likely"))
    found = recognize("stripes")
    assert (found.match.adapter, found.match.reason, found.warnings) == ("zebra", "stripes in stripes", ())


def test_ties_are_listed_with_their_commands(declare: Declare) -> None:
    declare("zebra", answer("zebra", "exact"))
    declare("horse", answer("horse", "exact"))
    with pytest.raises(UsageError, match="2 adapters recognize stripes") as caught:
        recognize("stripes", ("stripes", "--imgsz", "64"))
    assert "adaptrt convert --adapter zebra stripes --imgsz 64" in str(caught.value.hint)
    assert "adaptrt convert --adapter horse stripes --imgsz 64" in str(caught.value.hint)


def test_a_likely_one_is_not_taken(declare: Declare) -> None:
    declare("zebra", answer("zebra", "likely", ", source='net:Zebra', arguments=('--set', 'name=a b')"))
    with pytest.raises(UsageError, match="with certainty") as caught:
        recognize("stripes", ("stripes", "-v"))
    assert "adaptrt convert --adapter zebra net:Zebra -v --set 'name=a b'" in str(caught.value.hint)


def test_what_is_unknown_says_why(declare: Declare) -> None:
    declare("zebra", answer("zebra", "none"))
    with pytest.raises(UsageError, match="zebra: stripes in stripes") as caught:
        recognize("stripes")
    assert "--adapter" in str(caught.value.hint)
    assert "zebra" in str(caught.value.hint)


def test_what_is_unknown_names_the_classes_in_the_file(declare: Declare, tmp_path: Path) -> None:
    """Usually a pickled module of the user's own code; it may also be a program."""
    torch = pytest.importorskip("torch", reason="writes a checkpoint")
    declare("zebra", "return []")
    torch.save({"epoch": 1, "model": SimpleNamespace(a=[torch.zeros(2)], path=tmp_path)}, tmp_path / "own.pt")
    with pytest.raises(UsageError, match="own.pt") as caught:
        recognize(str(tmp_path / "own.pt"))
    assert "which refers to other code: pathlib.PosixPath, types.SimpleNamespace." in caught.value.message
    torch.save({"epoch": 1}, tmp_path / "plain.pt")
    with pytest.raises(UsageError) as caught:
        recognize(str(tmp_path / "plain.pt"))
    assert caught.value.message.endswith("plain.pt.")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise RuntimeError('no stripes')", "RuntimeError: no stripes"),
        ("return ['zebra']", "expected a Match"),
        ("return None", "TypeError"),
        (answer("unicorn", "exact"), "'unicorn', which is not installed"),
        (answer("broken", "surely"), "expected a Match"),
        ("import missing_framework", "missing_framework"),
    ],
)
def test_a_broken_recognizer_is_a_warning(declare: Declare, body: str, said: str) -> None:
    declare("zebra", answer("zebra", "exact"))
    declare("broken", body)
    found = recognize("stripes")
    assert found.match.adapter == "zebra"
    (warning,) = found.warnings
    assert "'broken'" in warning
    assert said in warning


def test_a_recognizer_that_cannot_be_imported_is_a_warning(declare: Declare, fake_distribution: Any) -> None:
    declare("zebra", answer("zebra", "exact"))
    fake_distribution("adaptrt-bad", {"adaptrt.recognizers": {"bad": "no_such_module:recognizer"}})
    registry.forget_declared()
    found = recognize("stripes")
    assert found.match.adapter == "zebra"
    assert "no_such_module" in found.warnings[0]


def test_python_lists_them_too(declare: Declare) -> None:
    declare("zebra", answer("zebra", "likely"))
    with pytest.raises(UsageError, match="with certainty"):
        adaptrt.convert("stripes")


@pytest.mark.parametrize(("certainty", "named"), [("exact", True), ("likely", False)])
def test_the_right_adapter_is_named_when_a_wrong_one_fails(
    declare: Declare, tmp_path: Path, certainty: str, named: bool
) -> None:
    declare("zebra", answer("zebra", certainty))
    declare("horse", "return []")

    def fails(_: Conversion) -> Any:
        raise adaptrt.ModelError("There is no horse.", hint="Look again.")

    ctx = Conversion(Request("stripes", "horse"), None, tmp_path)
    with pytest.raises(adaptrt.ModelError) as caught:
        load_model(cast("Any", SimpleNamespace(load_model=fails)), ctx)
    hint = "stripes is a model of adapter zebra (stripes in stripes): use --adapter zebra. " if named else ""
    assert caught.value.hint == f"{hint}Look again."
    assert wrong_adapter("stripes", "horse") == (hint.strip() or None)
    assert wrong_adapter("stripes", "zebra") is None


def test_an_adapter_that_recognizes_the_source_too_is_not_wrong(declare: Declare) -> None:
    declare("zebra", answer("zebra", "exact"))
    declare("horse", answer("horse", "likely"))
    assert wrong_adapter("stripes", "horse") is None


@pytest.mark.full
def test_conversions_and_plans_name_it(declare: Declare, tiny: str, tmp_path: Path) -> None:
    from adaptrt.pipeline.adapter_session import AdapterSession

    declare("zebra", answer("zebra", "exact"))
    for load, said in (
        (lambda: adaptrt.convert("stripes", adapter=tiny, output=tmp_path), 'adapter="zebra"'),
        (lambda: AdapterSession(Request("stripes", tiny), tmp_path).model, "--adapter zebra"),
    ):
        with pytest.raises(adaptrt.ModelError, match="stripes") as caught:
            load()
        assert f"use {said}." in str(caught.value.hint)
