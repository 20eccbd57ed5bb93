"""Kernels are compiled once for each architecture."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptrt.backends.tensorrt.runtime import compiled
from adaptrt.errors import DependencyError, EngineError


def test_a_binary_is_compiled_once_for_each_architecture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[str] = []

    def compile_once(file: compiled.KernelFile, architecture: str) -> bytes:
        made.append(architecture)
        return architecture.encode()

    monkeypatch.setenv("ADAPTRT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(compiled, "compile_kernels", compile_once)
    for _ in range(2):
        assert compiled.binary_for(compiled.IMAGE_KERNELS, "sm_90") == b"sm_90"
        assert compiled.binary_for(compiled.IMAGE_KERNELS, "sm_80") == b"sm_80"
    assert made == ["sm_90", "sm_80"]
    for path in (tmp_path / "cache" / "kernels").iterdir():
        path.chmod(0o600)
        path.write_bytes(b"")  # a write that was interrupted
    assert compiled.binary_for(compiled.IMAGE_KERNELS, "sm_90") == b"sm_90"
    assert made[2:] == ["sm_90"]


def test_a_folder_that_others_can_write_to_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "kernels"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    monkeypatch.setenv("ADAPTRT_CACHE_DIR", str(folder.parent))
    monkeypatch.setattr(compiled, "compile_kernels", lambda file, architecture: b"own")
    (folder / f"{compiled._digest(compiled.IMAGE_KERNELS.source())}-sm_90.cubin").write_bytes(b"of others")
    assert compiled.binary_for(compiled.IMAGE_KERNELS, "sm_90") == b"own"


@pytest.mark.full
@pytest.mark.parametrize("architecture", ["sm_75", "sm_90"])
def test_nvrtc_compiles_the_kernels(architecture: str) -> None:
    pytest.importorskip("cuda.bindings.nvrtc", reason="needs cuda-python")
    try:
        binary = compiled.compile_kernels(compiled.IMAGE_KERNELS, architecture)
    except DependencyError as error:
        pytest.skip(error.message)
    assert binary.startswith(b"\x7fELF")
    assert all(name.encode() in binary for name in compiled.IMAGE_KERNELS.kernels)


def test_an_error_names_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cuda.bindings.nvrtc", reason="needs cuda-python")
    monkeypatch.setattr(compiled.KernelFile, "source", lambda self: "nonsense")
    try:
        with pytest.raises(EngineError, match=r"NVRTC cannot compile peak\.cu for sm_90: peak\.cu\("):
            compiled.compile_kernels(compiled.KernelFile("peak.cu", ()), "sm_90")
    except DependencyError as error:
        pytest.skip(error.message)
