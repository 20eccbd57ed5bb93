"""``adaptrt engine`` and ``inspect`` on engines, and ``adaptrt cache``."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from adaptrt.backends.tensorrt.build.precision_report import LayerRecord, PrecisionReport
from adaptrt.backends.tensorrt.device import Device
from adaptrt.backends.tensorrt.generations import TensorRT
from adaptrt.backends.tensorrt.header import read_header
from adaptrt.backends.tensorrt.manifest import Manifest, manifest_path
from adaptrt.errors import DependencyError, EngineError
from adaptrt.report import Check, Link
from adaptrt.specs import BuildOptions, InputSpec, ModelSpec, OutputSpec, parse_shape
from adaptrt.store.cache import Store, default_timing_folder

PLAN = b"ptrt" + bytes(300)


def write_engine(folder: Path, **changes: Any) -> Path:
    path = folder / "best.engine"
    path.write_bytes(PLAN)
    precision_report = PrecisionReport(
        "fp16",
        {"fp16": 60, "fp32": 4},
        {"fp16": 3_400_000, "fp32": 12},
        plan_share=0.6,
        evidence="60 of 64 visible layers compute in fp16",
        table=[LayerRecord("conv1 + relu", "CaskConvolution", "fp16", 4), LayerRecord("{ForeignNode[a]}", "Myelin")],
    )
    made = Manifest(
        hashlib.sha256(PLAN).hexdigest(), len(PLAN), "best.onnx", "0", "8.6.0", "12.9", "580.1", "NVIDIA H200", "9.0",
        "fp16",
        ModelSpec(
            (InputSpec("images", (parse_shape("1..2x3x64x64"), parse_shape("8..16@8x3x64x64"))),),
            (OutputSpec("output0", ("batch", 8, 84)),),
            metadata={"names": "{0: 'helmet'}", "stride": "32"},
        ),
        precision_report,
        checks=[Link(4, "engine vs. reference", "passed", checks=[Check("output0: boxes", "pixels", 0.4, 4.0, True)])],
        rebuild="adaptrt build best.onnx --precision fp16",
        created="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    for name, value in changes.items():
        setattr(made, name, value)
    manifest_path(path).write_text(made.to_json())
    return path


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What TensorRT and GPU ``inspect`` finds here."""

    def set_here(version: str = "8.6.0", capability: str = "9.0", gpu: str = "NVIDIA H200") -> None:
        module = "adaptrt.backends.tensorrt.description"
        monkeypatch.setattr(f"{module}.import_tensorrt", lambda *_: TensorRT(None, version, "full"))
        monkeypatch.setattr(f"{module}.describe_device", lambda _: Device(0, gpu, capability, 1, 1, "12.9", None))

    return set_here


def test_inspect_an_engine(adaptrt: Any, tmp_path: Path, here: Any) -> None:
    here()
    result = adaptrt("inspect", write_engine(tmp_path))
    assert result.code == 0
    words = " ".join(result.out.split())
    for piece in (
        "TensorRT engine, 304 B",
        "runs here yes",
        "built with TensorRT 8.6.0, CUDA 12.9, driver 580.1",
        "built for NVIDIA H200, sm_90",
        "60 of 64 visible layers compute in fp16",
        "rebuild adaptrt build best.onnx --precision fp16",
        "0 images 1x3x64x64 2x3x64x64 2x3x64x64",
        "1 images 8x3x64x64 8x3x64x64 16x3x64x64",
        "fp16 60 3.4 MB",
        "4 engine vs. reference passed output0: boxes 0.4",
    ):
        assert piece in words, piece


def test_inspect_reads_a_plan_once(adaptrt: Any, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    here()
    hashed: list[Path] = []
    monkeypatch.setattr("adaptrt.backends.tensorrt.manifest.file_sha256", lambda path: hashed.append(path) or "another")
    path = write_engine(tmp_path)
    description = adaptrt("inspect", path, "--json").json
    assert hashed == [path]
    assert description["facts"]["runs here"].startswith("no: best.engine is not the engine that")
    assert "is not the engine that" in description["warnings"][0]


def test_inspect_says_why_it_does_not_run_here(adaptrt: Any, tmp_path: Path, here: Any) -> None:
    here("10.16.1", "8.9", "NVIDIA L4")
    facts = adaptrt("inspect", write_engine(tmp_path), "--json").json["facts"]
    assert facts["runs here"].startswith("no: best.engine was built with TensorRT 8.6.0 for sm_90")
    here()
    options = BuildOptions(version_compatible=True)
    facts = adaptrt("inspect", write_engine(tmp_path, host_code=True, options=options), "--json").json["facts"]
    assert facts["runs here"] == "yes; requires --allow-host-code"
    assert facts["options"] == "version-compatible"


def test_inspect_without_tensorrt(adaptrt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise DependencyError("TensorRT is not installed.")

    monkeypatch.setattr("adaptrt.backends.tensorrt.description.import_tensorrt", missing)
    assert adaptrt("inspect", write_engine(tmp_path), "--json").json["facts"]["runs here"] == (
        "unknown: TensorRT is not installed."
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cudaErrorInsufficientDriver", "no: No NVIDIA GPU is visible."),
        ("cudaErrorInitializationError", "unknown: CUDA: cudaErrorInitializationError (device 0)."),
    ],
)
def test_inspect_without_a_gpu(
    name: str, said: str, adaptrt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise EngineError(f"CUDA: {name} (device 0).")

    monkeypatch.setattr("adaptrt.backends.tensorrt.description.import_tensorrt", lambda *_: None)
    monkeypatch.setattr("adaptrt.backends.tensorrt.description.describe_device", fails)
    assert adaptrt("inspect", write_engine(tmp_path), "--json").json["facts"]["runs here"] == said


def test_inspect_lists_layers(adaptrt: Any, tmp_path: Path) -> None:
    lines = adaptrt("inspect", write_engine(tmp_path), "--graph").out.splitlines()
    assert len(lines) == 2
    assert "conv1 + relu" in lines[0]
    assert "CaskConvolution fp16" in lines[0]
    assert "Myelin" in lines[1]


def test_inspect_a_changed_and_a_foreign_engine(adaptrt: Any, tmp_path: Path) -> None:
    path = write_engine(tmp_path)
    path.write_bytes(PLAN[:-1])
    assert "is truncated" in adaptrt("inspect", path).out
    manifest_path(path).unlink()
    description = adaptrt("inspect", path, "--json").json
    assert any("No manifest" in warning for warning in description["warnings"])
    assert description["facts"]["runs here"].startswith("unknown:")


def test_header_off_and_on(adaptrt: Any, tmp_path: Path) -> None:
    path = write_engine(tmp_path)
    wrapped = adaptrt("engine", "wrap", path, "--json")
    assert wrapped.code == 0
    target = Path(wrapped.json["path"])
    assert target.name == "best.ultralytics.engine"
    assert wrapped.json["header"] == {"names": {"0": "helmet"}, "stride": 32}
    assert read_header(target)[0] == wrapped.json["header"]
    described = adaptrt("inspect", target)
    assert "with Ultralytics' header" in described.out
    plain = adaptrt("engine", "unwrap", target)
    assert plain.code == 0
    assert Path(plain.out.strip()).name == "best.ultralytics.plan"
    assert Path(plain.out.strip()).read_bytes() == PLAN


def test_headers_that_cannot_be(adaptrt: Any, tmp_path: Path) -> None:
    path = write_engine(tmp_path)
    refused = adaptrt("engine", "unwrap", path)
    assert refused.code == 8
    assert "has no Ultralytics header" in refused.err
    assert adaptrt("engine", "unwrap", path, "-o", path).code == 2
    assert adaptrt("engine", "unwrap", tmp_path / "none.engine").code == 4
    manifest_path(path).unlink()
    assert "has no manifest" in adaptrt("engine", "wrap", path).err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["best.engine"]


def test_an_engine_that_ultralytics_does_not_run(adaptrt: Any, tmp_path: Path) -> None:
    done = adaptrt("engine", "wrap", write_engine(tmp_path, product="rtx"))
    assert done.code == 8
    assert "Ultralytics does not run engines of TensorRT-RTX" in done.err
    assert "adaptrt build MODEL.onnx --to engine" in done.err
    assert not list(tmp_path.glob("*.ultralytics.engine"))


def test_cache_ls_and_prune(adaptrt: Any, tmp_path: Path) -> None:
    assert adaptrt("cache", "ls").out.startswith("0 results, 0 timing caches, 0 B in ")
    (tmp_path / "a").write_bytes(b"12345")
    old, new = "0" * 64, "1" * 64
    Store().put(old, "conversion", "yolov5 best.pt", {".onnx": tmp_path / "a"})
    (tmp_path / "a").write_bytes(b"123456")
    Store().put(new, "engine", "best.onnx fp16", {".engine": tmp_path / "a"})
    os.utime(Store().folder / "entries" / f"{old}.json", (1_000_000, 1_000_000))
    default_timing_folder().mkdir(parents=True)
    (default_timing_folder() / "8.6.0-sm_90-GPU.cache").write_bytes(b"1")
    listed = adaptrt("cache", "ls", "--json").json
    assert [entry["key"] for entry in listed["entries"]] == [new, old]
    assert (listed["bytes"], listed["timing"][0]["title"]) == (12, "8.6.0-sm_90-GPU")
    assert "best.onnx fp16" in adaptrt("cache", "ls").out
    assert adaptrt("cache", "prune", "--older-than", "30d").out == "1 results and 0 timing caches removed, 5 B freed.\n"
    assert adaptrt("cache", "prune", "--max-size", "1M").out == "0 results and 0 timing caches removed, 0 B freed.\n"
    assert adaptrt("cache", "prune", "--timing", "--json").json["bytes"] == 7
    assert json.loads(adaptrt("cache", "ls", "--json").out)["entries"] == []
    assert adaptrt("cache", "prune", "--older-than", "soon").code == 2
    Store().folder.chmod(0o777)
    refused = adaptrt("cache", "prune")
    assert refused.code == 2
    assert "other users can write" in refused.err
    Store().folder.chmod(0o700)
    wrong = adaptrt("cache", "prune", "--max-size", "much")
    assert wrong.code == 2
    assert (
        wrong.err
        == "Error: Invalid value for --max-size: 'much'.\nFor example: --max-size 4 (GiB), or --max-size 512M\n"
    )


def test_groups_say_what_they_have(adaptrt: Any) -> None:
    for group, words in (("engine", ("wrap", "unwrap")), ("cache", ("ls", "prune"))):
        text = adaptrt(group, "--help").out
        assert all(f"  {word} " in text for word in words)
        wrong = adaptrt(group, "nothing")
        assert wrong.code == 2
        assert "Unknown command 'nothing'" in wrong.err


def test_wrap_an_engine_of_another_manifest(adaptrt: Any, tmp_path: Path) -> None:
    path = write_engine(tmp_path)
    path.write_bytes(PLAN[:-1] + b"1")
    result = adaptrt("engine", "wrap", path)
    assert result.code == 8
    assert "is not the engine that best.engine.json describes" in result.err
    assert not (tmp_path / "best.ultralytics.engine").exists()
