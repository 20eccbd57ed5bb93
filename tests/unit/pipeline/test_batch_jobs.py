"""The manifest of a batch job, which decides whether a folder is continued."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptrt.batch.manifest import NAME, manifest_of, open_job
from adaptrt.errors import UsageError


def test_a_folder_with_the_job(tmp_path: Path) -> None:
    (tmp_path / "best.model").write_bytes(b"model")
    manifest = manifest_of(tmp_path / "best.model", {}, [], form="json", part_size=3)
    assert not open_job(tmp_path, manifest)
    assert open_job(tmp_path, manifest)


@pytest.mark.parametrize("content", [b"", b'{"form": 1}', b'{"form": "\xff"}', b'{"other": ' + b"[" * 100_000])
def test_a_folder_whose_manifest_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "best.model").write_bytes(b"model")
    manifest = manifest_of(tmp_path / "best.model", {}, [], form="json", part_size=3)
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(UsageError, match="is not the manifest of a batch job"):
        open_job(tmp_path, manifest)
