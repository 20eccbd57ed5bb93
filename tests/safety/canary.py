"""Runs the hostile files of a module and holds what happened against what must not."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hostile.case import CANARY, Case

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Outcome:
    """What a command did. ``seen``: calls, imports and connections that only a payload makes."""

    code: int
    seconds: float
    megabytes: float
    out: str
    err: str
    seen: str
    folder: Path


def parameters(cases: list[Case]) -> list[ParameterSet]:
    """The cases as parameters of a test; the everyday suite runs every second one of those that are everyday."""
    turn = count()
    return [
        pytest.param(case, id=case.name, marks=() if case.everyday and next(turn) % 2 == 0 else pytest.mark.full)
        for case in cases
    ]


def missing(case: Case) -> list[str]:
    return [name for name in case.needs if importlib.util.find_spec(name) is None]


def run_module(module: str, cases: list[Case], folder: Path) -> dict[str, Outcome]:
    """All cases of ``hostile.<module>`` whose requirements are here, in one process that forks for each."""
    names = [case.name for case in cases if not missing(case)]
    environment = {
        **os.environ,
        "ADAPTRT_CACHE_DIR": str(folder / "cache"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
    }
    runner = Path(__file__).with_name("run_cases.py")
    with (folder / "said").open("w") as errors:
        done = subprocess.run(
            [sys.executable, runner, module, folder, *names],
            env=environment, stdout=errors, stderr=errors, check=False,
        )  # fmt: skip
    assert done.returncode == 0, (folder / "said").read_text()[-4000:]
    outcomes = {}
    for line in (folder / "outcomes").read_text().splitlines():
        found = json.loads(line)
        place = folder / found.pop("name")
        said = {name: (place / name).read_bytes().decode("utf-8", "surrogateescape") for name in ("out", "err", "seen")}
        outcomes[place.name] = Outcome(**found, **said, folder=place / "work")
    return outcomes


def check(case: Case, outcome: Outcome) -> None:
    """Nothing ran, the exit code is a documented one, the terminal got text only, time and memory stayed bounded."""
    said = outcome.out + outcome.err
    assert not (outcome.folder / CANARY).exists(), "the payload ran"
    assert not outcome.seen, outcome.seen
    assert "internal error" not in said, said[-2000:]
    assert "Traceback" not in said, said[-2000:]
    assert outcome.code in case.codes, f"exit {outcome.code}: {said[-2000:]}"
    raw = _CONTROLS.search(said)
    assert raw is None, f"{raw[0]!r} reached the terminal: {said[max(0, raw.start() - 80) : raw.start() + 80]!r}"
    assert case.says in said, said[-2000:]
    assert outcome.seconds < case.seconds, f"{outcome.seconds:.1f} s"
    assert outcome.megabytes < case.megabytes, f"{outcome.megabytes:.0f} MB"
