"""What a report names is data: evaluate loads what the caller names."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptrt import UsageError
from adaptrt.evaluation import evaluate

HOSTILE = "x'; touch pwned; '\x1b[2J\r\u202e\n.py:Net"


@pytest.fixture
def converted(tiny: str, adaptrt: Callable[..., Any]) -> str:
    assert adaptrt("convert", "--adapter", "tiny", "classifier", "--verify", "none", "-q").code == 0
    from adaptrt.vision.images import write_image

    Path("val", "red").mkdir(parents=True)
    write_image(Path("val", "red", "one.png"), np.full((30, 30, 3), 80, np.uint8))
    return "classifier.onnx"


def rewrite_report(**changes: Any) -> None:
    path = Path("classifier.report.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def pasted(error: str) -> list[str]:
    """The command in an error, as a shell would split it."""
    return shlex.split(error[error.index("adaptrt evaluate") :])


def test_nothing_is_loaded_that_the_report_names(
    converted: str, adaptrt: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither without the flags, nor with them: then it is what the flags name."""
    import tiny_adapter

    loaded: list[str] = []
    load = tiny_adapter.load_model
    monkeypatch.setattr(tiny_adapter, "load_model", lambda ctx: (loaded.append(ctx.request.source), load(ctx))[1])
    rewrite_report(source="os:system", weights="planted.pt", options={"args": '["touch pwned"]'})
    words = ("evaluate", converted, "--data", "val", "--backend", "eager")
    for part in ((), ("--adapter", "tiny"), ("--source", "classifier")):
        result = adaptrt(*words, *part)
        assert (result.code, loaded) == (2, []), result.err
        assert "they are never taken from the report" in result.err


def test_the_error_completes_the_command(converted: str, adaptrt: Callable[..., Any]) -> None:
    words = ("evaluate", converted, "--data", "val", "--backend", "eager")
    command = pasted(adaptrt(*words).err)
    assert command == ["adaptrt", "evaluate", "--adapter", "tiny", "--source", "classifier", *words[1:]]
    assert adaptrt(*command[1:]).code == 0
    partly = pasted(adaptrt(*words, "--adapter=other").err)
    assert partly.count("--adapter") == 0
    assert partly[-1] == "--adapter=other"


def test_a_hostile_report_stays_quoted(converted: str, adaptrt: Callable[..., Any]) -> None:
    options = {"kwargs": {"a": "$(touch pwned)"}, "--plugins x": "y"}
    rewrite_report(source=HOSTILE, adapter="--plugins", weights="-w `id`", options=options)
    result = adaptrt("evaluate", converted, "--data", "val", "--backend", "eager")
    shown = result.err.partition("adaptrt evaluate")[2].removesuffix("\n")
    assert shown.isprintable()
    assert pasted(result.err)[2:10] == [
        "--adapter",
        "--plugins",
        "--source",
        "x'; touch pwned; '[2J.py:Net",
        "--weights",
        "-w `id`",
        "--set",
        'kwargs={"a": "$(touch pwned)"}',
    ]


def test_decoder_options_are_not_repeated(tiny: str, adaptrt: Callable[..., Any]) -> None:
    """They are in the spec, and scoring has thresholds of its own."""
    words = ("convert", "--adapter", "tiny", "detector", "--verify", "none", "-q", "--set", "conf=0.9")
    assert adaptrt(*words).code == 0
    error = adaptrt("evaluate", "detector.onnx", "--data", "val", "--backend", "eager").err
    assert "--set" not in pasted(error)


def test_from_python(converted: str) -> None:
    with pytest.raises(UsageError, match="--adapter tiny --source classifier"):
        evaluate([converted], "val", backends=["eager"])
    found = evaluate([converted], "val", backends=["eager"], adapter="tiny", source="classifier")
    assert found.results[0].images == 1
