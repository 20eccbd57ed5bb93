"""Files that are no checkpoints: each is told for what it is, in one line, with a way out."""

from __future__ import annotations

import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="checkpoints are read into torch tensors")

from adaptrt.checkpoint import read_checkpoint, read_state_dict  # noqa: E402
from adaptrt.errors import CheckpointError  # noqa: E402


def refused(path: Path, *words: str) -> None:
    for read in (read_checkpoint, read_state_dict):
        with pytest.raises(CheckpointError) as caught:
            read(path)
        for word in words:
            assert word in str(caught.value)
        assert "\n" not in caught.value.message


def test_missing_file_with_a_neighbor(tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_bytes(b"")
    refused(tmp_path / "bst.pt", "File not found", f"Did you mean '{tmp_path / 'best.pt'}'?")
    refused(tmp_path / "nowhere" / "best.pt", "File not found", "Files are never downloaded")


def test_directory(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "best.pt").write_bytes(b"x")
    refused(tmp_path, "is a folder", str(Path("weights", "best.pt")))
    (tmp_path / "images").mkdir()
    refused(tmp_path / "images", "is a folder", "It contains no checkpoint")


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.pt").touch()
    refused(tmp_path / "empty.pt", "is empty", "download it again")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_truncated(save: Callable[..., Path], share: float) -> None:
    path = save({"weights": torch.randn(500), "more": torch.randn(50)})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    refused(path, "damaged", "download it again")


def test_damaged_storage(tmp_path: Path) -> None:
    torch.save(torch.ones(1000), tmp_path / "best.pt")
    raw = bytearray((tmp_path / "best.pt").read_bytes())
    raw[raw.index(np.ones(1000, np.float32).tobytes()) + 100] ^= 1
    (tmp_path / "best.pt").write_bytes(raw)
    refused(tmp_path / "best.pt", "damaged", "CRC")


def test_storage_missing_from_the_archive(tmp_path: Path) -> None:
    torch.save(torch.ones(10), tmp_path / "whole.pt")
    with zipfile.ZipFile(tmp_path / "whole.pt") as source, zipfile.ZipFile(tmp_path / "less.pt", "w") as target:
        for name in source.namelist():
            if not name.endswith("/data/0"):
                target.writestr(name, source.read(name))
    refused(tmp_path / "less.pt", "damaged", "data/0")


def test_zip_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.pt", "w") as archive:
        archive.writestr("a.jpg", b"1")
    refused(tmp_path / "photos.pt", "zip archive, but not a checkpoint", "a.jpg")
    np.savez(tmp_path / "arrays.npz", a=np.ones(3))
    refused(tmp_path / "arrays.npz", "zip archive, but not a checkpoint", "a.npy")


def test_torchscript(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), str(tmp_path / "script.pt"))
    refused(tmp_path / "script.pt", "TorchScript", "--adapter torch")


@pytest.mark.parametrize("stem", ["code", "models"])
def test_names_of_files_say_nothing(tmp_path: Path, stem: str) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / f"{stem}.pth")
    assert read_checkpoint(tmp_path / f"{stem}.pth")["a"].tolist() == [1, 1]


def test_exported_program(tmp_path: Path) -> None:
    program = torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),))
    torch.export.save(program, tmp_path / "program.pt2")
    refused(tmp_path / "program.pt2", "torch.export", "--adapter torch")


def test_plain_pickle(tmp_path: Path) -> None:
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps({"weights": [1, 2]}))
    refused(tmp_path / "plain.pkl", "not one that torch.save wrote")


def test_plain_pickle_that_would_run(tmp_path: Path, runs: object, sentinel: Path) -> None:
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(runs))
    refused(tmp_path / "evil.pkl", "posix.system", "--trust-checkpoint")
    assert not sentinel.exists()


def test_tar(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    with tarfile.open(tmp_path / "old.pt", "w") as archive:
        archive.add(tmp_path / "a.txt", "a.txt")
    refused(tmp_path / "old.pt", "tar archive")


def test_random_bytes(tmp_path: Path) -> None:
    (tmp_path / "noise.pt").write_bytes(np.random.default_rng(0).bytes(5000))
    refused(tmp_path / "noise.pt", "is not a checkpoint")


HEADS = {
    "text": (b"nc: 80\nbackbone:\n  - [1, 2]\n", "text file"),
    "page": (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
    "onnx": (b"\x08\x0a\x12\x07pytorch\x1a\x052.1.0" + bytes(100), "ONNX file"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    "gzip": (b"\x1f\x8b\x08\x00" + bytes(100), "compressed archive"),
    "engine": (b"ftrt" + bytes(100), "TensorRT engine"),
}


@pytest.mark.parametrize("kind", HEADS)
def test_other_kinds(tmp_path: Path, kind: str) -> None:
    data, words = HEADS[kind]
    (tmp_path / "file.pt").write_bytes(data)
    refused(tmp_path / "file.pt", words)


def test_a_file_of_a_backend_is_known_by_its_suffix(tmp_path: Path) -> None:
    for name, words in (("best.plan", "a file of TensorRT,"), ("best.rtx.engine", "a file of TensorRT-RTX,")):
        (tmp_path / name).write_bytes(b"<?xml version='1.0'?>")
        refused(tmp_path / name, words, "adaptrt predict")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    path.write_bytes(b"x")
    path.chmod(0)
    refused(path, "cannot be read", "permissions")
