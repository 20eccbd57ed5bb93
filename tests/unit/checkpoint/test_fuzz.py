"""Whatever the bytes: an object or a ``CheckpointError``, nothing run, memory in proportion to the file."""

from __future__ import annotations

import io
import os
import pickle
import resource
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="checkpoints are read into torch tensors")
hypothesis = pytest.importorskip("hypothesis", reason="fuzzing needs hypothesis")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from adaptrt.checkpoint import InertObject, read_checkpoint, tensors_of  # noqa: E402
from adaptrt.errors import CheckpointError  # noqa: E402

INERT = ("torch.nn", "models", "os")  # "os": even expected names are never imported
MEMORY = 300_000  # KiB that a whole run may add
FUZZ = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def sample() -> object:
    import numpy as np

    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).half()
    base = torch.arange(12.0)
    return {"model": module, "base": base, "view": base[::2], "list": [1, "a", (2.5, None)], "array": np.ones(3)}


def saved(new: bool) -> bytes:
    out = io.BytesIO()
    torch.save(sample(), out, _use_new_zipfile_serialization=new)
    return out.getvalue()


ZIP, LEGACY = saved(True), saved(False)
with zipfile.ZipFile(io.BytesIO(ZIP)) as archive:
    ENTRIES = {name: archive.read(name) for name in archive.namelist()}
PICKLE_NAME = next(name for name in ENTRIES if name.endswith("/data.pkl"))
PICKLE = ENTRIES[PICKLE_NAME]


@pytest.fixture(scope="module", autouse=True)
def nothing_runs() -> Iterator[None]:
    """``os.system`` is what the made pickles call; memory is looked at over all examples together."""
    calls: list[object] = []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "system", calls.append)
        yield
    assert not calls
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY


def survives(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "fuzzed.pt")
        path.write_bytes(data)
        try:
            read = read_checkpoint(path, inert=INERT)
            module = read.get("model") if isinstance(read, dict) else read
            if isinstance(module, InertObject):
                tensors_of(module)
        except CheckpointError as error:
            message = error.message
        else:
            return
    assert "\n" not in message
    assert len(message) < 5000


def zipped(data: bytes) -> bytes:
    """The archive again, with another pickle, and checksums to match."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        for name, raw in ENTRIES.items():
            target.writestr(name, data if name == PICKLE_NAME else raw)
    return out.getvalue()


@st.composite
def damaged(draw: st.DrawFn, source: bytes) -> bytes:
    """A few bytes changed, a piece cut out or said twice, the end cut off."""
    data = bytearray(source)
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    start, end = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
    how = draw(st.sampled_from(["whole", "whole", "cut", "twice", "end"]))
    if how == "cut":
        del data[start : min(end, start + 50)]
    elif how == "twice":
        data[start:start] = data[start : min(end, start + 200)]
    elif how == "end":
        del data[start:]
    return bytes(data)


NAMES = [
    b"os\nsystem",
    b"collections\nOrderedDict",
    b"collections\ndefaultdict",
    b"builtins\nlist",
    b"builtins\nset",
    b"builtins\nbytearray",
    b"builtins\ngetattr",
    b"torch._utils\n_rebuild_tensor_v2",
    b"torch._utils\n_rebuild_tensor_v3",
    b"torch._utils\n_rebuild_parameter",
    b"torch._tensor\n_rebuild_from_type_v2",
    b"torch\nFloatStorage",
    b"torch\nSize",
    b"torch\ndevice",
    b"torch\nfloat32",
    b"numpy\nndarray",
    b"numpy\ndtype",
    b"numpy.core.multiarray\n_reconstruct",
    b"numpy.core.multiarray\nscalar",
    b"copyreg\n_reconstructor",
    b"pathlib\nPosixPath",
    b"datetime\ndatetime",
    b"models.common\nConv",
]
VALUES = [
    *(b"c" + name + b"\n" for name in NAMES),
    *(pickle.dumps(value, 2)[2:-1] for value in (0, 1, -1, 255, 1 << 40, 0.5, "f4", "cpu", "0", "storage", "echo no")),
    *(pickle.dumps(value, 0)[:-1] for value in ((), (0,), (1,), [], {}, b"b")),
    b"N",
    b"\x88",
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ",
]
ACTIONS = [
    b"(",
    b"t",
    b"l",
    b"d",
    b"\x85",
    b"\x86",
    b"\x87",
    b"R",
    b"R",
    b"\x81",
    b"\x92",
    b"b",
    b"b",
    b"a",
    b"e",
    b"s",
]
ACTIONS += [
    b"u",
    b"\x90",
    b"\x91",
    b"Q",
    b"2",
    b"0",
    b"1",
    b"o",
    b"\x93",
    b"\x94",
    b"q\x00",
    b"h\x00",
    b"]",
    b"}",
    b")",
]


def made() -> st.SearchStrategy[bytes]:
    """Pickles out of meaningful pieces in any order."""
    pieces = st.lists(st.sampled_from(VALUES) | st.sampled_from(ACTIONS), max_size=60)
    return pieces.map(lambda parts: b"\x80\x02" + b"".join(parts) + b".")


@FUZZ
@given(damaged(ZIP))
def test_damaged_zip(data: bytes) -> None:
    survives(data)


@FUZZ
@given(damaged(PICKLE))
def test_damaged_pickle_in_a_sound_zip(data: bytes) -> None:
    survives(zipped(data))


@FUZZ
@given(damaged(LEGACY))
def test_damaged_legacy_file(data: bytes) -> None:
    survives(data)


@FUZZ
@given(made())
def test_pickles_of_any_pieces(data: bytes) -> None:
    survives(zipped(data))


@FUZZ
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    survives(data)
    survives(b"PK\x03\x04" + data)
    survives(b"\x80" + data)
    survives(LEGACY[: LEGACY.index(b".", 20) + 1] + data)
