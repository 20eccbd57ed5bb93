"""A damaged network is a ``CheckpointError`` or still a network; no other exception gets out."""

from __future__ import annotations

import io
import itertools
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("ultralytics", reason="needs the package ultralytics")
pytest.importorskip("hypothesis", reason="fuzzing needs hypothesis")


from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from adaptrt.errors import CheckpointError  # noqa: E402
from adaptrt_ultralytics.checkpoints import open_checkpoint  # noqa: E402
from adaptrt_ultralytics.classic.model import network_from_checkpoint as classic_network  # noqa: E402
from adaptrt_ultralytics.rebuild import network_from_checkpoint as new_network  # noqa: E402

FUZZ = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
VALUES = [None, -1, 0, 3, 1 << 70, 2.5, "x", (), [], {}, (1, 2), True]


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """The entries of a small checkpoint of each family."""
    from ultralytics.nn.tasks import DetectionModel

    conv = ["Conv", [16, 3, 2]]
    config = {
        "nc": 2,
        "ch": 3,
        "backbone": [[-1, 1, *conv] for _ in range(3)],
        "head": [[-1, 1, "C2f", [16, True]], [-1, 1, *conv], [[3, 4], 1, "Detect", ["nc"]]],
    }
    torch.save({"model": DetectionModel(config, verbose=False)}, tmp_path_factory.mktemp("new") / "best.pt")
    return {"new": entries(tmp_path_factory.getbasetemp().glob("new*/best.pt").__next__())}


def entries(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def constants(data: bytes) -> list[tuple[int, int]]:
    """Where the pickle has a small number, None or a flag: what to change without breaking its structure."""
    import pickletools

    found = []
    operations = list(pickletools.genops(data))
    for (operation, _, start), (_, _, end) in itertools.pairwise(operations):
        if operation.name in ("BININT1", "BININT", "BINFLOAT", "NONE", "NEWTRUE", "NEWFALSE", "EMPTY_TUPLE", "TUPLE2"):
            assert start is not None
            assert end is not None
            if operation.name != "TUPLE2":
                found.append((start, end))
    return found


def rebuilt(files: dict[str, bytes], data: bytes, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as target:
        for name, raw in files.items():
            target.writestr(name, data if name.endswith("/data.pkl") else raw)
    try:
        checkpoint = open_checkpoint(path)
        (new_network if checkpoint.family == "new" else classic_network)(checkpoint)
    except CheckpointError as error:
        message = error.message
    else:
        return
    assert "\n" not in message


@pytest.mark.full
@pytest.mark.parametrize("family", ["new", "classic"])
def test_changed_settings(family: str, archives: dict[str, Any], classic: Any, tmp_path: Path) -> None:
    files = archives["new"] if family == "new" else entries(classic.save({"model": classic.network()}))
    (data,) = (raw for name, raw in files.items() if name.endswith("/data.pkl"))
    places = constants(data)

    @FUZZ
    @given(st.lists(st.tuples(st.integers(0, len(places) - 1), st.sampled_from(VALUES)), min_size=1, max_size=3))
    def change(changes: list[tuple[int, Any]]) -> None:
        changed = data
        for place, value in sorted(dict(changes).items(), reverse=True):
            start, end = places[place]
            changed = changed[:start] + pickle.dumps(value, 0)[:-1] + changed[end:]
        rebuilt(files, changed, tmp_path / "changed.pt")

    change()


@pytest.mark.full
@pytest.mark.parametrize("family", ["new", "classic"])
def test_changed_names(family: str, archives: dict[str, Any], classic: Any, tmp_path: Path) -> None:
    files = archives["new"] if family == "new" else entries(classic.save({"model": classic.network()}))
    (data,) = (raw for name, raw in files.items() if name.endswith("/data.pkl"))
    texts = ["_modules", "_parameters", "_buffers", "weight", "stride", "anchors", "Conv2d", "Conv", "Detect", "f", "m"]

    @FUZZ
    @given(st.sampled_from(texts), st.sampled_from(texts), st.integers(1, 40))
    def change(old: str, new: str, count: int) -> None:
        written = b"X" + len(old).to_bytes(4, "little") + old.encode()
        changed = data.replace(written, b"X" + len(new).to_bytes(4, "little") + new.encode(), count)
        rebuilt(files, changed, tmp_path / "changed.pt")

    change()


def test_the_samples_are_sound(archives: dict[str, Any], classic: Any, tmp_path: Path) -> None:
    for files in (archives["new"], entries(classic.save({"model": classic.network()}))):
        out = io.BytesIO(next(raw for name, raw in files.items() if name.endswith("/data.pkl")))
        rebuilt(files, out.getvalue(), tmp_path / "sound.pt")
        assert open_checkpoint(tmp_path / "sound.pt").family in ("new", "classic")
