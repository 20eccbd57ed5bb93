"""The command line in this process, through the boundary that the console scripts use."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from json_outputs import require_documented

from adaptrt.cli.boundary import run
from adaptrt.cli.main import cli


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        import json

        return json.loads(self.out)


@pytest.fixture
def adaptrt(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """``adaptrt("inspect", "x.onnx")``: exit code, standard output, standard error."""

    def call(*words: object) -> Result:
        capsys.readouterr()
        code = run(cli, list(map(str, words)), "adaptrt")
        result = Result(code, *capsys.readouterr())
        if ("--json" in words or "--stream" in words) and result.out.startswith("{"):
            require_documented(list(map(str, words)), result.out)
        return result

    return call


_CONVERTED: dict[str, Path] = {}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder is an empty one of the test's own."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)


@pytest.fixture
def converted(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, tiny: str) -> Callable[[str], Path]:
    """``converted("detector")``: an ONNX file of that net, in a folder of the test's own; converted once a run."""

    def give(net: str) -> Path:
        if net not in _CONVERTED:
            import adaptrt

            folder = tmp_path_factory.mktemp("converted")
            adaptrt.convert(net, adapter=tiny, output=folder, verify="none", html=False)
            _CONVERTED[net] = folder / f"{net}.onnx"
        return Path(shutil.copy(_CONVERTED[net], tmp_path / f"{net}.onnx"))

    return give
