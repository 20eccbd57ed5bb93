"""Result files of a batch job: written aside, synchronized to disk, and renamed with their row count and hash."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptrt.errors import DependencyError
from adaptrt.json_text import encodable, json_text
from adaptrt.store.hashing import file_sha256

FORMATS = ("jsonl", "parquet")
_NAME = re.compile(r"part-(\d{6,})\.(\d+)-(\d+)-([0-9a-f]{16})\.(jsonl|parquet)")
_COLUMNS = ("path", "height", "width", "prediction", "error")

Row = Mapping[str, Any]
"""``path``, and ``height``, ``width`` and the keys of the task, or ``error``."""


@dataclass(frozen=True)
class Part:
    """A finished part. ``generation`` counts how often its failed images were tried again."""

    path: Path
    index: int
    generation: int
    rows: int
    digest: str

    def read(self) -> list[dict[str, Any]]:
        """Its rows, in the order of the sources."""
        if self.path.suffix == ".jsonl":
            return [json.loads(line) for line in self.path.read_bytes().splitlines()]
        table = _pyarrow().parquet.read_table(self.path).to_pylist()
        return [_from_columns(row) for row in table]


def require_format(form: str) -> None:
    """Raise a ``DependencyError`` if parts of this format cannot be written here."""
    if form == "parquet":
        _pyarrow()


def write_part(folder: Path, index: int, generation: int, rows: Sequence[Row], form: str) -> Part:
    """Write a part; it appears under its name only when it is complete and on disk."""
    data = _jsonl(rows) if form == "jsonl" else _parquet(rows)
    digest = hashlib.sha256(data).hexdigest()[:16]
    name = f"part-{index:06d}.{generation}-{len(rows)}-{digest}.{form}"
    aside = folder / f".{name}.aside"
    with aside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(folder / name)
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return Part(folder / name, index, generation, len(rows), digest)


def any_part(folder: Path) -> Path | None:
    """A finished part, if there is one."""
    return next((path for path in sorted(folder.iterdir()) if _NAME.fullmatch(path.name)), None)


def find_parts(folder: Path) -> tuple[dict[int, Part], list[str]]:
    """Finished parts by index, and warnings about files that were removed.

    Removed are files that a killed run had not finished, parts whose content does not have the hash in their name, and parts
    that a later generation replaces.
    """
    for path in folder.glob(".part-*.aside"):
        path.unlink(missing_ok=True)
    found: dict[int, Part] = {}
    warnings = []
    for path in sorted(folder.iterdir()):
        named = _NAME.fullmatch(path.name)
        if named is None:
            continue
        part = Part(path, int(named[1]), int(named[2]), int(named[3]), named[4])
        if file_sha256(path)[:16] != part.digest:
            warnings.append(f"{path.name} is damaged: its images are processed again")
            path.unlink()
            continue
        earlier = found.get(part.index)
        if earlier is not None and earlier.generation >= part.generation:
            path.unlink()
            continue
        if earlier is not None:
            earlier.path.unlink()
        found[part.index] = part
    return found, warnings


def _jsonl(rows: Sequence[Row]) -> bytes:
    return "".join(json_text(row) + "\n" for row in rows).encode()


def _parquet(rows: Sequence[Row]) -> bytes:
    """The same columns for every task: ``prediction`` is JSON text, so that all parts have one schema."""
    pa = _pyarrow()
    kinds = {"height": pa.int32(), "width": pa.int32()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in _COLUMNS])
    table = pa.Table.from_pylist([_to_columns(row) for row in rows], schema=schema)
    file = io.BytesIO()
    pa.parquet.write_table(table, file)
    return file.getvalue()


def _to_columns(row: Row) -> dict[str, Any]:
    known = {name: row.get(name) for name in ("path", "height", "width", "error")}
    known |= {name: encodable(text) for name, text in known.items() if isinstance(text, str)}
    rest = {key: value for key, value in row.items() if key not in known}
    return {**known, "prediction": None if known["error"] is not None else json_text(rest)}


def _from_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    if row["error"] is not None:
        return {"path": row["path"], "error": row["error"]}
    return {**{name: row[name] for name in ("path", "height", "width")}, **json.loads(row["prediction"])}


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DependencyError(
            f"Parquet requires pyarrow, which cannot be imported: {error}.",
            hint="pip install pyarrow, or use --format jsonl",
        ) from error
    return pyarrow
