"""The kernels of the runtime, compiled for the host: on the pretend GPU they run where a GPU would run them."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from adaptrt.backends.tensorrt.runtime import compiled


@lru_cache(maxsize=1)
def library() -> Any:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++ to compile the kernels for the host")
    with TemporaryDirectory() as folder:  # a library that is loaded needs its file no longer
        source, built = Path(folder) / "kernels.cpp", Path(folder) / "kernels.so"
        source.write_text('extern "C" {\n' + compiled.IMAGE_KERNELS.source() + "\n}\n", encoding="utf-8")
        command = [compiler, "-O1", "-DHOST", "-shared", "-fPIC", "-ffp-contract=off", str(source), "-o", str(built)]
        subprocess.run(command, check=True, capture_output=True)
        return ctypes.CDLL(str(built))


def install(monkeypatch: pytest.MonkeyPatch, gpu: Any) -> list[str]:
    """Let the pretend driver launch the host's kernels, in the order of streams; returns the names of those launched."""
    host, launched = library(), []

    def launch(name: str, gx: int, gy: int, gz: int, bx: int, by: int, bz: int, shared: int, stream: int, arguments: Any, extra: int) -> Any:  # fmt: skip
        assert hasattr(gpu.current, "device") or getattr(gpu.current, "context", 0), "no context in this thread"
        values = [kind(value) for value, kind in zip(*arguments, strict=True)]
        if name == "preprocess":
            values.append(ctypes.c_int(gz))
            assert gx * bx >= values[4].value, "the grid does not cover the columns"
            assert gy * by >= values[3].value, "the grid does not cover the rows"

        def run() -> None:
            launched.append(name)
            getattr(host, name)(*values)

        gpu.submit(int(stream), run)
        return (0,)

    answer_launches(monkeypatch, launch)
    return launched


def answer_launches(monkeypatch: pytest.MonkeyPatch, launch: Callable[..., Any]) -> None:
    """Let the pretend driver load kernels without compiling them, and call ``launch`` with the name of each that is launched."""
    driver = sys.modules["cuda.bindings.driver"]
    monkeypatch.setattr(driver, "cuModuleLoadData", lambda binary: (0, "module"), raising=False)
    monkeypatch.setattr(driver, "cuModuleGetFunction", lambda module, name: (0, name.decode()), raising=False)
    monkeypatch.setattr(driver, "cuLaunchKernel", launch, raising=False)
    monkeypatch.setattr(compiled, "binary_for", lambda file, architecture: b"binary")
    monkeypatch.setattr(compiled, "_loaded", {})
