"""Hashes of files: read once, unless a file may have been written meanwhile."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from adaptrt.store import hashing
from adaptrt.store.hashing import file_sha256


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found, read = [], hashing.content_sha256

    def counted(file):
        found.append(Path(file.name).name)
        return read(file)

    monkeypatch.setattr(hashing, "content_sha256", counted)
    return found


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_file_is_read_once(tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time() + 60
    monkeypatch.setattr(time, "time", lambda: now)
    path = tmp_path / "best.engine"
    path.write_text("one")
    assert {file_sha256(path) for _ in range(3)} == {digest("one")}
    path.rename(tmp_path / "other.engine")
    path.write_text("two")
    assert file_sha256(path) == digest("two")
    times = path.stat()
    while path.stat().st_ctime_ns == times.st_ctime_ns:
        path.write_text("six")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file_sha256(path) == digest("six")
    assert reads == ["best.engine"] * 3


def test_a_file_that_was_just_written_is_read_again(tmp_path: Path, reads: list[str]) -> None:
    path = tmp_path / "best.engine"
    for text in ("one", "two"):
        path.write_text(text)
        assert file_sha256(path) == digest(text)
    assert len(reads) == 2
