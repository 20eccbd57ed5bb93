"""What a traced hook gave, in a few words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adaptrt.plugins.recorder import HookCall
from adaptrt.plugins.trace import describe, trace_line


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (Path("folder/model.onnx"), "model.onnx"),
        (HookCall, "HookCall"),
        ({"a": np.zeros((1, 2), np.float32), "b": np.int64(3)}, "a float32 1x2, b int64 scalar"),
        (({"a": np.zeros(2)}, Path("x")), "a float64 2; x"),
        ([], "0"),
        ([np.zeros(3, np.int32)], "1 (int32 3)"),
        (object(), "object"),
    ],
)
def test_results(result: object, words: str) -> None:
    assert describe(result) == words


def test_long_results_are_cut() -> None:
    assert len(describe([Path("n" * 40)] * 40)) == 100


def test_a_call_is_one_line() -> None:
    call = HookCall("patches", "tiny", 0.0123, False, error=ValueError("two\nlines"))
    assert (
        trace_line(call) == "hook patches                tiny                          12.3 ms  failed: ValueError: two"
    )
