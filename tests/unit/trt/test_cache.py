"""The store behind the caches, engines in it, and timing caches: under concurrent use, and when things are damaged."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adaptrt.errors import OutputError
from adaptrt.specs import BuildOptions, InputSpec, ModelSpec, parse_shape
from adaptrt.trt import engine_cache
from adaptrt.trt.cache import Store, cache_folder, key_of
from adaptrt.trt.cuda import Device
from adaptrt.trt.engine_cache import engine_from_cache, engine_key, keep_engine
from adaptrt.trt.manifest import Manifest, manifest_path
from adaptrt.trt.receipt import Receipt
from adaptrt.trt.timing_cache import load_timing_cache, save_timing_cache, timing_cache_path

SPEC = ModelSpec((InputSpec("images", (parse_shape("1..4x3x8x8"),)),))
DEVICE = Device(0, "NVIDIA H200", "9.0", 1, 1, "12.9", None)


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
    store.put("k", "test", "a title", {".x": file(tmp_path, b"one"), ".y": file(tmp_path, b"two", "b")})
    entry = store.find("k")
    assert entry is not None
    assert (entry.kind, entry.title, entry.bytes) == ("test", "a title", 6)
    assert store.copy(entry, ".y", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"two"
    assert store.find("other") is None


def test_equal_contents_are_kept_once(store: Store, tmp_path: Path) -> None:
    store.put("k", "test", "", {".x": file(tmp_path, b"same")})
    store.put("l", "test", "", {".y": file(tmp_path, b"same", "b")})
    assert store.size() == 4


def test_damaged_and_missing_contents(store: Store, tmp_path: Path) -> None:
    store.put("k", "test", "", {".x": file(tmp_path, b"one")})
    entry = store.find("k")
    assert entry is not None
    (content,) = (tmp_path / "cache" / "objects").glob("*/*")
    content.write_bytes(b"two")
    assert not store.copy(entry, ".x", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert store.find("k") is None
    store.put("k", "test", "", {".x": file(tmp_path, b"one")})
    content.unlink()
    assert store.find("k") is None


def test_half_an_entry_is_none(store: Store, tmp_path: Path) -> None:
    store.put("k", "test", "", {".x": file(tmp_path, b"one")})
    (tmp_path / "cache" / "entries" / "k.json").write_text('{"key": "k"')
    assert store.find("k") is None
    assert store.entries() == []


def test_pruning_keeps_what_was_used_last(store: Store, tmp_path: Path) -> None:
    for number in range(4):
        store.put(str(number), "test", "", {".x": file(tmp_path, bytes([number]) * 10)})
        os.utime(tmp_path / "cache" / "entries" / f"{number}.json", (number, number))
    assert store.find("0") is not None  # a use
    assert store.prune(limit=20) == (2, 20)
    assert sorted(entry.key for entry in store.entries()) == ["0", "3"]
    assert store.prune(limit=1 << 30, older_than=1000) == (1, 10)
    assert [entry.key for entry in store.entries()] == ["0"]
    assert store.prune() == (1, 10)
    assert store.size() == 0


def test_the_limit_holds_by_itself(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache", limit=25)
    for number in range(4):
        store.put(str(number), "test", "", {".x": file(tmp_path, bytes([number]) * 10)})
        os.utime(tmp_path / "cache" / "entries" / f"{number}.json", (number, number))
    assert store.size() <= 25
    assert store.find("3") is not None


def test_an_empty_cache(tmp_path: Path) -> None:
    store = Store(tmp_path / "nothing")
    assert (store.entries(), store.size(), store.prune()) == ([], 0, (0, 0))
    assert not (tmp_path / "nothing").exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written") as caught:
        Store(tmp_path / "file" / "cache").put("k", "test", "", {})
    assert "--no-cache" in str(caught.value.hint)


FILL = """
import sys
from pathlib import Path
from adaptrt.trt.cache import Store
folder, number = Path(sys.argv[1]), sys.argv[2]
store = Store(folder / "cache", limit=200)
for turn in range(8):
    path = folder / f"f{number}"
    path.write_bytes(bytes([turn]) * 20)
    store.put(f"{number}-{turn}", "test", "", {".x": path})
    entry = store.find(f"{number}-{turn}")
    if entry is not None:
        store.copy(entry, ".x", folder / f"out{number}")
"""


def test_many_at_once(tmp_path: Path) -> None:
    started = [subprocess.Popen([sys.executable, "-c", FILL, str(tmp_path), str(number)]) for number in range(3)]
    assert [process.wait(120) for process in started] == [0, 0, 0]
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
    monkeypatch.setattr(engine_cache, "installed_version", lambda: found["version"])
    return found


def test_what_the_key_of_an_engine_holds(gpu: dict[str, Any], tmp_path: Path) -> None:
    library = file(tmp_path, b"code", "my.so")
    base = engine_key("abc", SPEC, "fp16", (), BuildOptions())
    other = ModelSpec((InputSpec("images", (parse_shape("1..8x3x8x8"),)),))
    with_library = engine_key("abc", SPEC, "fp16", (), BuildOptions(plugin_libs=(str(library),)))
    keys = [
        base,
        engine_key("abd", SPEC, "fp16", (), BuildOptions()),
        engine_key("abc", other, "fp16", (), BuildOptions()),
        engine_key("abc", SPEC, "fp32", (), BuildOptions()),
        engine_key("abc", SPEC, "fp16", ("head",), BuildOptions()),
        engine_key("abc", SPEC, "fp16", (), BuildOptions(refittable=True)),
        with_library,
    ]
    library.write_bytes(b"other")
    keys.append(engine_key("abc", SPEC, "fp16", (), BuildOptions(plugin_libs=(str(library),))))
    gpu["version"] = "8.6.1"
    keys.append(engine_key("abc", SPEC, "fp16", (), BuildOptions()))
    gpu["version"], gpu["device"] = "8.6.0", Device(0, "NVIDIA L4", "8.9", 1, 1, "12.9", None)
    keys.append(engine_key("abc", SPEC, "fp16", (), BuildOptions()))
    assert None not in keys
    assert len(set(keys)) == len(keys)
    gpu["device"] = DEVICE
    assert engine_key("abc", SPEC, "fp16", (), BuildOptions()) == base


def test_no_key_without_tensorrt_or_gpu(gpu: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    gpu["version"] = None
    assert engine_key("abc", SPEC, "fp16", (), BuildOptions()) is None
    monkeypatch.undo()
    assert engine_key("abc", SPEC, "fp16", (), BuildOptions(plugin_libs=("missing.so",))) is None


def test_engines_in_and_out(store: Store, tmp_path: Path) -> None:
    plan, again = tmp_path / "plan", tmp_path / "again"
    plan.write_bytes(b"plan")
    manifest = Manifest("0", 4, "a.onnx", "1", "8.6.0", "12.9", None, "GPU", "9.0", "fp16", SPEC, Receipt("fp16"))
    manifest_path(plan).write_text(manifest.to_json())
    assert engine_from_cache("k", again, store) is None
    keep_engine("k", plan, manifest, store)
    assert engine_from_cache("k", again, store) == manifest
    assert again.read_bytes() == b"plan"
    assert store.entries()[0].title == "a.onnx fp16, TensorRT 8.6.0, GPU"


class _Cache:
    """A timing cache as TensorRT has them, with measured kernels as letters."""

    def __init__(self, data: bytes) -> None:
        self.letters = set(data.decode())

    def combine(self, other: _Cache, ignore_mismatch: bool) -> bool:
        self.letters |= other.letters
        return True

    def serialize(self) -> bytes:
        return "".join(sorted(self.letters)).encode()


def _config(measured: str, *, valid: bool = True) -> Any:
    config = SimpleNamespace(cache=None)

    def set_timing_cache(cache: Any, ignore_mismatch: bool) -> bool:
        config.cache = cache
        return valid or not cache.letters

    def get_timing_cache() -> Any:
        config.cache.letters |= set(measured)
        return config.cache

    config.create_timing_cache = _Cache
    config.set_timing_cache, config.get_timing_cache = set_timing_cache, get_timing_cache
    return config


def test_timing_caches_grow_and_merge(tmp_path: Path) -> None:
    path = timing_cache_path(tmp_path / "timing", "8.6.0", DEVICE)
    assert path.name == "8.6.0-sm_90-NVIDIA_H200.cache"
    first, second = _config("ab"), _config("bc")
    assert load_timing_cache(first, path)
    assert load_timing_cache(second, path)
    assert save_timing_cache(first, path) == 2
    assert save_timing_cache(second, path) == 3  # what the first wrote meanwhile is not lost
    assert path.read_bytes() == b"abc"
    third = _config("")
    load_timing_cache(third, path)
    assert third.cache.letters == set("abc")


def test_a_timing_cache_that_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "x.cache"
    path.write_bytes(b"zz")
    config = _config("a", valid=False)
    load_timing_cache(config, path)
    assert config.cache.letters == set()


def test_no_timing_cache_is_wanted() -> None:
    config = _config("a")
    assert not load_timing_cache(config, None)
    assert save_timing_cache(config, None) == 0
    assert config.cache is None


def test_entries_remember_their_use(store: Store, tmp_path: Path) -> None:
    store.put("k", "test", "", {".x": file(tmp_path, b"one")})
    os.utime(tmp_path / "cache" / "entries" / "k.json", (5, 5))
    assert store.entries()[0].used == 5
    store.find("k")
    assert store.entries()[0].used == pytest.approx(time.time(), abs=60)
