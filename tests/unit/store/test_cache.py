"""The store behind the caches, and engines in it: under concurrent use, and when things are damaged."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patience import HANG

from adaptrt.backends.tensorrt.build import engine_cache
from adaptrt.backends.tensorrt.build.engine_cache import engine_from_cache, engine_key, keep_engine
from adaptrt.backends.tensorrt.build.precision_report import PrecisionReport
from adaptrt.backends.tensorrt.device import Device
from adaptrt.backends.tensorrt.generations import generation_of
from adaptrt.backends.tensorrt.manifest import Manifest, manifest_path
from adaptrt.errors import OutputError
from adaptrt.specs import BuildOptions, InputSpec, ModelSpec, parse_shape, precision_named
from adaptrt.specs.backends import BackendRequest
from adaptrt.store.cache import Store, cache_folder, cache_problem, key_of
from adaptrt.store.cache_entry import is_hash, parse_entry

SPEC = ModelSpec((InputSpec("images", (parse_shape("1..4x3x8x8"),)),))
DEVICE = Device(0, "NVIDIA H200", "9.0", 1, 1, "12.9", None)


def K(name: str) -> str:
    """A key, which is a hash."""
    return key_of({"name": name})


def file(folder: Path, content: bytes, name: str = "a") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def test_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTRT_CACHE_DIR", "/some/where")
    assert cache_folder() == Path("/some/where")
    monkeypatch.delenv("ADAPTRT_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/adaptrt")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "adaptrt"


def test_in_and_out(store: Store, tmp_path: Path) -> None:
    store.put(K("k"), "test", "a title", {".x": file(tmp_path, b"one"), ".y": file(tmp_path, b"two", "b")})
    entry = store.find(K("k"))
    assert entry is not None
    assert (entry.kind, entry.title, entry.bytes) == ("test", "a title", 6)
    assert store.copy(entry, ".y", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"two"
    assert store.find(K("other")) is None


def test_equal_contents_are_kept_once(store: Store, tmp_path: Path) -> None:
    store.put(K("k"), "test", "", {".x": file(tmp_path, b"same")})
    store.put(K("l"), "test", "", {".y": file(tmp_path, b"same", "b")})
    assert store.size() == 4


def test_damaged_and_missing_contents(store: Store, tmp_path: Path) -> None:
    store.put(K("k"), "test", "", {".x": file(tmp_path, b"one")})
    entry = store.find(K("k"))
    assert entry is not None
    (content,) = (tmp_path / "cache" / "objects").glob("*/*")
    content.write_bytes(b"two")
    assert not store.copy(entry, ".x", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert store.find(K("k")) is None
    store.put(K("k"), "test", "", {".x": file(tmp_path, b"one")})
    content.unlink()
    assert store.find(K("k")) is None


def test_half_an_entry_is_none(store: Store, tmp_path: Path) -> None:
    store.put(K("k"), "test", "", {".x": file(tmp_path, b"one")})
    (tmp_path / "cache" / "entries" / f"{K('k')}.json").write_text('{"key": "k"')
    assert store.find(K("k")) is None
    assert store.entries() == []


def test_pruning_keeps_what_was_used_last(store: Store, tmp_path: Path) -> None:
    for number in range(4):
        store.put(K(str(number)), "test", "", {".x": file(tmp_path, bytes([number]) * 10)})
        os.utime(tmp_path / "cache" / "entries" / f"{K(str(number))}.json", (number, number))
    assert store.find(K("0")) is not None  # a use
    assert store.prune(limit=20) == (2, 20)
    assert {entry.key for entry in store.entries()} == {K("0"), K("3")}
    assert store.prune(limit=1 << 30, older_than=1000) == (1, 10)
    assert [entry.key for entry in store.entries()] == [K("0")]
    assert store.prune() == (1, 10)
    assert store.size() == 0


def test_the_limit_holds_by_itself(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache", limit=25)
    for number in range(4):
        store.put(K(str(number)), "test", "", {".x": file(tmp_path, bytes([number]) * 10)})
        os.utime(tmp_path / "cache" / "entries" / f"{K(str(number))}.json", (number, number))
    assert store.size() <= 25
    assert store.find(K("3")) is not None


def test_an_empty_cache(tmp_path: Path) -> None:
    store = Store(tmp_path / "nothing")
    assert (store.entries(), store.size(), store.prune()) == ([], 0, (0, 0))
    assert not (tmp_path / "nothing").exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written") as caught:
        Store(tmp_path / "file" / "cache").put(K("k"), "test", "", {})
    assert "--no-cache" in str(caught.value.hint)


FILL = """
import sys
from pathlib import Path
from adaptrt.store.cache import Store, key_of
folder, number = Path(sys.argv[1]), sys.argv[2]
store = Store(folder / "cache", limit=200)
for turn in range(8):
    path = folder / f"f{number}"
    path.write_bytes(bytes([turn]) * 20)
    key = key_of({"number": number, "turn": turn})
    store.put(key, "test", "", {".x": path})
    entry = store.find(key)
    if entry is not None:
        store.copy(entry, ".x", folder / f"out{number}")
"""


def test_many_at_once(tmp_path: Path) -> None:
    started = [subprocess.Popen([sys.executable, "-c", FILL, str(tmp_path), str(number)]) for number in range(3)]
    assert [process.wait(HANG) for process in started] == [0, 0, 0]
    store = Store(tmp_path / "cache")
    assert store.entries()
    assert all(store.copy(entry, ".x", tmp_path / "out") for entry in store.entries())
    assert not list((tmp_path / "cache" / "entries").glob(".*"))


def test_keys_do_not_depend_on_order() -> None:
    assert key_of({"a": 1, "b": (1, 2)}) == key_of({"b": [1, 2], "a": 1})
    assert key_of({"a": 1}) != key_of({"a": "1"})
    assert key_of({"spec": SPEC}) == key_of({"spec": ModelSpec.from_json(SPEC.to_json())})


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    found = {"device": DEVICE, "version": "8.6.0"}
    monkeypatch.setattr(
        engine_cache, "identify_device", lambda index: (found["device"].name, found["device"].capability)
    )
    monkeypatch.setattr(engine_cache, "installed_version", lambda product: found["version"])
    return found


def key(onnx: str, spec: ModelSpec, precision: str, keep_fp32: tuple[str, ...] = (), **options: Any) -> str | None:
    request = BackendRequest(
        onnx_path=Path("a.onnx"),
        output=Path("plan"),
        spec=spec,
        precision=precision_named(precision),
        target=generation_of("8"),
        keep_fp32=keep_fp32,
        options=BuildOptions(**options),
    )
    return engine_key(request, onnx)


def test_what_the_key_of_an_engine_holds(gpu: dict[str, Any], tmp_path: Path) -> None:
    library = file(tmp_path, b"code", "my.so")
    base = key("abc", SPEC, "fp16", ())
    other = ModelSpec((InputSpec("images", (parse_shape("1..8x3x8x8"),)),))
    with_library = key("abc", SPEC, "fp16", (), plugin_libs=(str(library),))
    keys = [
        base,
        key("abd", SPEC, "fp16", ()),
        key("abc", other, "fp16", ()),
        key("abc", SPEC, "fp32", ()),
        key("abc", SPEC, "fp16", ("head",)),
        key("abc", SPEC, "fp16", (), refittable=True),
        with_library,
    ]
    library.write_bytes(b"other")
    keys.append(key("abc", SPEC, "fp16", (), plugin_libs=(str(library),)))
    gpu["version"] = "8.6.1"
    keys.append(key("abc", SPEC, "fp16", ()))
    gpu["version"], gpu["device"] = "8.6.0", Device(0, "NVIDIA L4", "8.9", 1, 1, "12.9", None)
    keys.append(key("abc", SPEC, "fp16", ()))
    assert None not in keys
    assert len(set(keys)) == len(keys)
    gpu["device"] = DEVICE
    assert key("abc", SPEC, "fp16", ()) == base


def test_no_key_without_tensorrt_or_gpu(gpu: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    gpu["version"] = None
    assert key("abc", SPEC, "fp16", ()) is None
    monkeypatch.undo()
    assert key("abc", SPEC, "fp16", (), plugin_libs=("missing.so",)) is None


def test_engines_in_and_out(store: Store, tmp_path: Path) -> None:
    plan, again = tmp_path / "plan", tmp_path / "again"
    plan.write_bytes(b"plan")
    manifest = Manifest(
        hashlib.sha256(b"plan").hexdigest(),
        4,
        "a.onnx",
        "1",
        "8.6.0",
        "12.9",
        None,
        "GPU",
        "9.0",
        "fp16",
        SPEC,
        PrecisionReport("fp16"),
    )
    manifest_path(plan).write_text(manifest.to_json())
    assert engine_from_cache(K("k"), again, store) is None
    keep_engine(K("k"), plan, manifest, store)
    assert engine_from_cache(K("k"), again, store) == manifest
    assert again.read_bytes() == b"plan"
    assert store.entries()[0].title == "a.onnx fp16, TensorRT 8.6.0, GPU"


def test_entries_remember_their_use(store: Store, tmp_path: Path) -> None:
    store.put(K("k"), "test", "", {".x": file(tmp_path, b"one")})
    os.utime(tmp_path / "cache" / "entries" / f"{K('k')}.json", (5, 5))
    assert store.entries()[0].used == 5
    before = time.time()
    store.find(K("k"))
    assert store.entries()[0].used >= before - 1  # clocks of file systems are coarse


def planted(store: Store, **fields: Any) -> str:
    """An entry that somebody wrote into the folder."""
    key = K("planted")
    store.put(K("real"), "test", "", {})
    entry = {"key": key, "kind": "test", "title": "", "created": 1.0, "files": {}, "bytes": 1, **fields}
    (store.folder / "entries" / f"{key}.json").write_text(json.dumps(entry))
    return key


@pytest.mark.parametrize(
    "fields",
    [
        {"files": {".x": "../../victim"}},
        {"files": {".x": "aa/../../../victim"}},
        {"files": {".x": "/etc/passwd"}},
        {"files": {".x": "A" * 64}},
        {"files": {"/../../x": "a" * 64}},
        {"files": {"": "a" * 64}},
        {"key": "../../victim"},
        {"key": "b" * 64},
        {"created": 1e300},
        {"created": -1.0},
        {"used": 1e300},
        {"bytes": -5},
        {"title": "\x1b]0;owned\x07"},
    ],
)
def test_a_planted_entry_is_thrown_away(store: Store, tmp_path: Path, fields: dict[str, Any]) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    key = planted(store, **fields)
    assert [entry.key for entry in store.entries()] == [K("real")]
    assert store.find(key) is None
    assert not (store.folder / "entries" / f"{key}.json").exists()
    planted(store, **fields)
    store.prune()
    assert victim.read_text() == "precious"


def test_keys_that_are_no_hashes_are_never_paths(store: Store, tmp_path: Path) -> None:
    assert store.find("../../victim") is None
    for call in (lambda: store.put("../x", "test", "", {}), lambda: store.forget("../x")):
        with pytest.raises(ValueError, match="is not a SHA-256 hash"):
            call()


@given(
    st.binary() | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(lambda raw: json.dumps(raw).encode())
)
def test_an_entry_is_sound_or_nothing(data: bytes) -> None:
    assert parse_entry(data, "a" * 64) is None


@given(
    st.text(),
    st.dictionaries(st.text() | st.just(".onnx"), st.text() | st.just("c" * 64)),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**70), 2**70),
)
def test_every_field_of_an_entry_keeps_its_bounds(title: str, files: dict[str, str], created: float, size: int) -> None:
    raw = {"key": "a" * 64, "kind": "test", "title": title, "created": created, "files": files, "bytes": size}
    entry = parse_entry(json.dumps(raw).encode(), "a" * 64)
    if entry is None:
        return
    assert entry.title.isprintable()
    assert all("/" not in suffix and is_hash(content) for suffix, content in entry.files.items())
    time.gmtime(entry.created)
    assert entry.bytes >= 0


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners on this system")
class TestUnsafeFolders:
    def filled(self, store: Store, tmp_path: Path) -> Store:
        store.put(K("k"), "test", "", {".x": file(tmp_path, b"one")})
        return store

    def test_it_is_private_from_the_start(self, store: Store, tmp_path: Path) -> None:
        self.filled(store, tmp_path)
        assert {path.stat().st_mode & 0o777 for path in (store.folder, *store.folder.iterdir()) if path.is_dir()} == {
            0o700
        }
        assert store.problem is None

    @pytest.mark.parametrize("name", ["", "objects", "entries"])
    @pytest.mark.parametrize("mode", [0o777, 0o770, 0o722])
    def test_one_that_others_can_write_to(self, store: Store, tmp_path: Path, name: str, mode: int) -> None:
        self.filled(store, tmp_path)
        (store.folder / name).chmod(mode)
        assert store.find(K("k")) is None
        for call in (store.prune, store.entries, lambda: store.put(K("l"), "test", "", {})):
            with pytest.raises(OutputError, match="other users can write") as caught:
                call()
            assert "chmod 700" in str(caught.value.hint)
            assert "ADAPTRT_CACHE_DIR" in str(caught.value.hint)
        (store.folder / name).chmod(0o700)
        assert store.find(K("k")) is not None

    def test_one_of_another_user(self, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.filled(store, tmp_path)
        monkeypatch.setattr(os, "getuid", lambda: 12345)
        assert "belongs to another user" in str(cache_problem(store.folder))
        assert store.find(K("k")) is None

    @pytest.mark.parametrize("name", ["objects", "entries", "timing"])
    def test_a_link_inside(self, store: Store, tmp_path: Path, name: str) -> None:
        (tmp_path / "elsewhere" / "ab").mkdir(parents=True)
        victim = file(tmp_path / "elsewhere" / "ab", b"precious", "f" * 64)
        store.folder.mkdir(mode=0o700)
        (store.folder / name).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OutputError, match="is a symbolic link"):
            store.prune()
        assert store.find(K("k")) is None
        assert victim.read_bytes() == b"precious"

    def test_the_folder_itself_may_be_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "big disk").mkdir(mode=0o700)
        (tmp_path / "cache").symlink_to(tmp_path / "big disk")
        store = self.filled(Store(tmp_path / "cache"), tmp_path)
        assert store.find(K("k")) is not None

    def test_links_below_objects(self, store: Store, tmp_path: Path) -> None:
        self.filled(store, tmp_path)
        entry = store.find(K("k"))
        assert entry is not None
        (content,) = (store.folder / "objects").glob("*/*")
        same = file(tmp_path, b"one", "same content")
        content.unlink()
        content.symlink_to(same)
        assert store.find(K("k")) is None
        assert not store.copy(entry, ".x", tmp_path / "out")
        (tmp_path / "elsewhere").mkdir()
        victim = file(tmp_path / "elsewhere", b"precious")
        (store.folder / "objects" / "zz").symlink_to(victim.parent)
        store.prune()
        assert victim.exists()
        assert same.exists()

    def test_a_lock_that_is_a_link(self, store: Store, tmp_path: Path) -> None:
        store.folder.mkdir(mode=0o700)
        victim = file(tmp_path, b"precious")
        (store.folder / "cache.lock").symlink_to(victim)
        with pytest.raises(OutputError, match="cannot be written"):
            self.filled(store, tmp_path)
        assert victim.read_bytes() != b""


def test_what_a_killed_run_left_is_pruned(store: Store, tmp_path: Path) -> None:
    store.put(K("k"), "test", "", {".x": file(tmp_path, b"one")})
    (store.folder / "entries" / ".half").write_bytes(b"x")
    store.prune(limit=1 << 20)
    assert not (store.folder / "entries" / ".half").exists()
    assert store.find(K("k")) is not None


@pytest.mark.parametrize("wrong", ["kind", "files", "manifest", "hash"])
def test_an_engine_that_is_not_what_its_manifest_says(store: Store, tmp_path: Path, wrong: str) -> None:
    plan, again = tmp_path / "plan", tmp_path / "again"
    plan.write_bytes(b"plan")
    digest = hashlib.sha256(b"plan" if wrong != "hash" else b"other").hexdigest()
    manifest = Manifest(
        digest, 4, "a.onnx", "1", "8.6.0", "12.9", None, "GPU", "9.0", "fp16", SPEC, PrecisionReport("fp16")
    )
    manifest_path(plan).write_text(manifest.to_json() if wrong != "manifest" else "{")
    files = {".engine": plan, ".engine.json": manifest_path(plan)}
    if wrong == "files":
        del files[".engine.json"]
    store.put(K("k"), "engine" if wrong != "kind" else "conversion", "", files)
    assert engine_from_cache(K("k"), again, store) is None
    assert store.find(K("k")) is None
    assert not again.exists()
    assert not manifest_path(again).exists()
