"""Rows of an ``.npz`` file: read one at a time, the same as numpy reads them, and refused where they are damaged."""

from __future__ import annotations

import os
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptrt import Dim, InputSpec, ModelSpec
from adaptrt.errors import UsageError
from adaptrt.pipeline.calibration import CalibrationImages, calibration_data
from adaptrt.specs.calibration import CalibrationRequest

SHAPE = (Dim(1, 2, 4, "batch"), Dim.fixed(8), Dim.fixed(1000))
SPEC = ModelSpec(inputs=(InputSpec("values", (SHAPE,)),), task="values")


def rows_of(count: int) -> Any:
    return np.random.default_rng(0).random((count, 8, 1000), np.float32)


def data_of(path: Path, **options: Any) -> Any:
    hold_back = options.pop("hold_back", False)
    request = CalibrationRequest(path, **options)
    return calibration_data(request, SPEC, lambda *_: ({}, None), CalibrationImages(), hold_back=hold_back)


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_rows_are_those_of_numpy(tmp_path: Path, write: Any) -> None:
    rows = rows_of(23)
    write(tmp_path / "rows.npz", values=rows, other=np.zeros(3))
    data = data_of(tmp_path / "rows.npz", images=7, batch=3, hold_back=True)
    assert (data.count, data.batches, data.probes) == (7, 3, 4)
    rest = [row for row in range(23) if row % 5 != 4]
    chosen = [rest[index * 19 // 7] for index in range(7)]
    for again in range(2):  # histograms read the batches a second time
        found = [batch["values"] for batch in data]
        assert [len(batch) for batch in found] == [3, 3, 1], again
        np.testing.assert_array_equal(np.concatenate(found), rows[chosen])
    np.testing.assert_array_equal(np.concatenate([one["values"] for one in data.probed()]), rows[4::5])


def test_columns_first_are_read_where_they_are_not_compressed(tmp_path: Path) -> None:
    rows = np.asfortranarray(rows_of(4))
    np.savez(tmp_path / "rows.npz", rows)
    np.testing.assert_array_equal(np.concatenate([one["values"] for one in data_of(tmp_path / "rows.npz")]), rows)
    np.savez_compressed(tmp_path / "rows.npz", rows)
    with pytest.raises(UsageError, match="in Fortran order") as refused:
        data_of(tmp_path / "rows.npz")
    assert "ascontiguousarray" in str(refused.value.hint)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_file_that_shrinks_between_rows(tmp_path: Path, order: Any) -> None:
    """A memory map of it would end the process by SIGBUS."""
    rows = np.array(rows_of(4), order=order)
    np.savez(tmp_path / "rows.npz", values=rows)
    batches = iter(data_of(tmp_path / "rows.npz", batch=1))
    np.testing.assert_array_equal(next(batches)["values"], rows[:1])
    os.truncate(tmp_path / "rows.npz", 0)
    if order == "F":  # copied before
        np.testing.assert_array_equal(next(batches)["values"], rows[1:2])
    else:
        with pytest.raises(UsageError, match=r"rows.npz changed during the run") as refused:
            next(batches)
        assert refused.value.hint


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, write: Any) -> None:
    write(tmp_path / "rows.npz", values=np.zeros((300, 8, 1000), np.float32))  # 10 MB
    tracemalloc.start()
    try:
        for batch in data_of(tmp_path / "rows.npz", images=250, batch=2):
            assert batch["values"].shape == (2, 8, 1000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _short(path: Path) -> None:
    """A member that holds fewer values than its header says."""
    with zipfile.ZipFile(path) as archive:
        content = archive.read("values.npy")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("values.npy", content[:-4])


def _text(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("values.npy", b"text")


def _endless(path: Path) -> None:
    """A header with more rows than any file has."""
    with zipfile.ZipFile(path) as archive:
        content = archive.read("values.npy").replace(b"(23,", b"(9999999999999,", 1)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("values.npy", content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_flip, "CRC"),
        (_short, "bytes of values instead of"),
        (_text, "magic"),
        (_endless, "bytes of values instead of"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: Any, message: str) -> None:
    path = tmp_path / "rows.npz"
    np.savez(path, values=rows_of(23))
    damage(path)
    with pytest.raises(UsageError, match=message):
        data_of(path)


def test_objects_are_not_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", values=np.array([{}], object))
    with pytest.raises(UsageError, match="Python objects"):
        data_of(tmp_path / "rows.npz")
