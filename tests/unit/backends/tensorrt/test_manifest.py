"""Manifests: round trips, and what is said before an engine is loaded."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptrt.backends.tensorrt.build.log import LogNote
from adaptrt.backends.tensorrt.build.precision_report import PrecisionReport
from adaptrt.backends.tensorrt.manifest import (
    LibraryRecord,
    Manifest,
    RuntimeEnvironment,
    check_manifest,
    check_plan,
    find_manifest,
    manifest_path,
    rebuild_line,
)
from adaptrt.errors import EngineError
from adaptrt.report import Check, Link, PassRecord, PatchRecord
from adaptrt.specs import BuildOptions, DecoderSpec, Dim, InputSpec, ModelSpec, OutputGroup, OutputSpec, parse_shape

PLAN = b"ptrt" + bytes(500)
HERE = RuntimeEnvironment("8.6.0", "9.0", "NVIDIA H200")


def manifest(**changes: Any) -> Manifest:
    made = Manifest(
        plan_sha256=hashlib.sha256(PLAN).hexdigest(),
        plan_bytes=len(PLAN),
        onnx="best.onnx",
        onnx_sha256="0" * 64,
        tensorrt="8.6.0",
        cuda="12.9",
        driver="580.95",
        gpu="NVIDIA H200",
        capability="9.0",
        precision="fp16",
        spec=ModelSpec((InputSpec("images", (parse_shape("1..8x3x640x640"),)),)),
        precision_report=PrecisionReport("fp16"),
        rebuild="adaptrt build best.onnx --precision fp16",
    )
    return dataclasses.replace(made, **changes)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "best.engine"
    path.write_bytes(PLAN)
    return path


def test_an_engine_of_this_machine(plan: Path) -> None:
    assert check_manifest(manifest(), plan, HERE) == []


def test_another_version_and_gpu_say_how_to_rebuild(plan: Path) -> None:
    with pytest.raises(EngineError) as caught:
        check_manifest(manifest(), plan, RuntimeEnvironment("10.16.1", "8.9", "NVIDIA L4"))
    assert caught.value.message.startswith(
        "best.engine was built with TensorRT 8.6.0 for sm_90 (NVIDIA H200); this machine has TensorRT 10.16.1 on sm_89 (NVIDIA L4)"
    )
    assert caught.value.hint == "Rebuild it here with: adaptrt build best.onnx --precision fp16"


def options(**changes: Any) -> BuildOptions:
    return BuildOptions(**changes)


@pytest.mark.parametrize(
    ("built", "wanted", "here", "problem"),
    [
        ("8.6.0", {}, RuntimeEnvironment("8.6.1", "9.0"), "runs on the version that built it"),
        ("10.16.1.11", {}, RuntimeEnvironment("10.16.1", "9.0"), None),
        (
            "8.6.0",
            {},
            RuntimeEnvironment("8.6.0", "9.0", flavor="lean"),
            "lean runtime runs version-compatible engines only",
        ),
        ("8.6.0", {"version_compatible": True}, RuntimeEnvironment("10.16.1", "9.0", flavor="lean"), None),
        (
            "8.6.0",
            {"version_compatible": True},
            RuntimeEnvironment("11.4.0", "9.0"),
            "TensorRT 11 rejects engines older than 10",
        ),
        ("10.16.1", {"version_compatible": True}, RuntimeEnvironment("11.4.0", "9.0"), None),
        ("10.16.1", {"version_compatible": True}, RuntimeEnvironment("10.3.0", "9.0"), "not on an earlier one"),
        ("8.6.0", {}, RuntimeEnvironment("8.6.0", "8.9"), "compute capability"),
        ("8.6.0", {"hardware_compatible": "ampere+"}, RuntimeEnvironment("8.6.0", "8.9"), None),
        ("8.6.0", {"hardware_compatible": "ampere+"}, RuntimeEnvironment("8.6.0", "7.5"), "sm_80 or later"),
        ("10.16.1", {"hardware_compatible": "same-cc"}, RuntimeEnvironment("10.16.1", "8.9"), "compute capability"),
        ("10.16.1", {"strip_weights": True}, RuntimeEnvironment("10.16.1", "9.0"), "contains no weights"),
    ],
)
def test_what_runs_where(
    built: str, wanted: dict[str, Any], here: RuntimeEnvironment, problem: str | None, plan: Path
) -> None:
    made = manifest(tensorrt=built, options=options(**wanted))
    if problem is None:
        check_manifest(made, plan, here)
    else:
        with pytest.raises(EngineError, match=problem):
            check_manifest(made, plan, here)


def test_host_code_needs_a_word(plan: Path) -> None:
    made = manifest(host_code=True, options=options(version_compatible=True))
    with pytest.raises(EngineError, match="contains host code, which runs when the engine is loaded") as caught:
        check_manifest(made, plan, HERE)
    assert "--allow-host-code" in str(caught.value.hint)
    assert check_manifest(made, plan, HERE, allow_host_code=True) == []


def test_another_model_of_gpu_is_a_warning(plan: Path) -> None:
    (warning,) = check_manifest(manifest(), plan, RuntimeEnvironment("8.6.0", "9.0", "NVIDIA H100"))
    assert "built on NVIDIA H200; on NVIDIA H100" in warning


def test_truncated_changed_and_missing_plans(plan: Path) -> None:
    plan.write_bytes(PLAN[:100])
    with pytest.raises(EngineError, match="truncated: 100 of 504 bytes"):
        check_plan(manifest(), plan)
    plan.write_bytes(PLAN + b"x")
    with pytest.raises(EngineError, match="is not the engine that best.engine.json describes"):
        check_plan(manifest(), plan)
    plan.write_bytes(b"x" + PLAN[1:])
    with pytest.raises(EngineError, match="is not the engine that best.engine.json describes"):
        check_plan(manifest(), plan)
    plan.unlink()
    with pytest.raises(EngineError, match="Engine not found"):
        check_plan(manifest(), plan)


def test_plugin_libraries(plan: Path, tmp_path: Path) -> None:
    library = tmp_path / "my.so"
    made = manifest(plugin_libs=[LibraryRecord(str(library), hashlib.sha256(b"1").hexdigest())])
    with pytest.raises(EngineError, match=r"requires the plugin library .*my\.so"):
        check_manifest(made, plan, HERE)
    given = [str(library)]
    with pytest.raises(EngineError, match="does not exist"):
        check_manifest(made, plan, HERE, plugin_libs=given)
    library.write_bytes(b"1")
    given = [str(library)]
    assert check_manifest(made, plan, HERE, plugin_libs=given) == []
    library.write_bytes(b"2")
    assert "is not the plugin library" in check_manifest(made, plan, HERE, plugin_libs=given)[0]


def test_a_library_that_a_manifest_names_has_to_be_given(plan: Path, tmp_path: Path) -> None:
    """It is there and its hash is right, and it is code all the same."""
    library = tmp_path / "my plug;in\x1b.so"
    library.write_bytes(b"1")
    made = manifest(plugin_libs=[LibraryRecord(str(library), hashlib.sha256(b"1").hexdigest())])
    with pytest.raises(EngineError, match="which is code and is loaded only if you specify it") as caught:
        check_manifest(made, plan, HERE)
    assert f"--plugin-lib '{tmp_path}/my plug;in.so'" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("recorded", "shown"),
    [
        ("adaptrt build 'a b.onnx' --precision fp16", "adaptrt build 'a b.onnx' --precision fp16"),
        ("adaptrt build x.onnx; touch pwned", "adaptrt build 'x.onnx;' touch pwned"),
        ("adaptrt build $(touch pwned)\n\x1b[8m", "adaptrt build '$(touch' 'pwned)[8m'"),
        ("curl example.org | sh", "adaptrt build MODEL.onnx"),
        ("adaptrt build 'open", "adaptrt build MODEL.onnx"),
    ],
)
def test_the_command_of_a_manifest_is_quoted_anew(recorded: str, shown: str) -> None:
    assert rebuild_line(manifest(rebuild=recorded)) == shown


def test_what_an_engine_was_built_from(plan: Path) -> None:
    from adaptrt.specs.backend_parts import KnowsOrigin
    from adaptrt.specs.backends import backend_of

    backend = backend_of(plan)
    assert isinstance(backend, KnowsOrigin)
    assert backend.origin_of(plan) is None
    made = manifest(options=BuildOptions(optimization_level=2), keep_fp32=("/head/",))
    manifest_path(plan).write_text(made.to_json())
    found = backend.origin_of(plan)
    assert found is not None
    assert (found.onnx, found.precision, found.keep_fp32) == ("best.onnx", "fp16", ("/head/",))
    assert found.options.optimization_level == 2


def test_a_plugin_library_that_lies_elsewhere_now(plan: Path, tmp_path: Path) -> None:
    made = manifest(plugin_libs=[LibraryRecord("/built/there/my.so", hashlib.sha256(b"1").hexdigest())])
    other, moved = tmp_path / "other.so", tmp_path / "my.so"
    moved.write_bytes(b"1")
    assert check_manifest(made, plan, HERE, plugin_libs=[str(other), str(moved)]) == []
    moved.write_bytes(b"2")
    assert check_manifest(made, plan, HERE, plugin_libs=[str(moved)])[0].startswith(f"{moved} is not the plugin")
    with pytest.raises(EngineError, match=r"requires the plugin library /built/there/my\.so, which is code"):
        check_manifest(made, plan, HERE, plugin_libs=[str(other)])


def test_no_foreign_and_broken_manifests(plan: Path) -> None:
    assert find_manifest(plan) is None
    manifest_path(plan).write_text('{"stride": 32}')
    with pytest.raises(EngineError, match="is not an adaptrt manifest"):
        find_manifest(plan)
    manifest_path(plan).write_text("{")
    with pytest.raises(EngineError, match="cannot be read"):
        find_manifest(plan)
    manifest_path(plan).write_text('{"format": "adaptrt engine 9"}')
    with pytest.raises(
        EngineError, match="'adaptrt engine 9'; this version of adaptrt reads 'adaptrt engine 2'"
    ) as caught:
        find_manifest(plan)
    assert "pip install -U adaptrt" in str(caught.value.hint)
    manifest_path(plan).write_text('{"format": "adaptrt engine 1"}')
    with pytest.raises(EngineError, match="cannot be read: .*plan_sha256"):
        find_manifest(plan)
    manifest_path(plan).write_text(manifest().to_json())
    assert find_manifest(plan) == manifest()


texts = st.text(max_size=12)
floats = st.floats(allow_nan=False, allow_infinity=False, width=32)
dims = st.tuples(st.integers(1, 64), st.integers(0, 64), st.integers(0, 64), st.none() | st.just("batch")).map(
    lambda sizes: Dim(sizes[0], sizes[0] + sizes[1], sizes[0] + sizes[1] + sizes[2], sizes[3])
)
inputs = st.tuples(texts, st.lists(dims, min_size=1, max_size=4), st.integers(1, 3)).map(
    lambda made: InputSpec(made[0], (tuple(made[1]),) * made[2])
)
groups = st.builds(
    OutputGroup, texts, st.sampled_from(["pixels", "scores", "logits", "values"]), st.none() | st.integers(-3, 3)
)
outputs = st.builds(
    OutputSpec, texts, st.lists(st.integers(1, 9) | texts, max_size=3).map(tuple), groups=st.tuples(groups)
)
decoders = st.none() | st.builds(
    DecoderSpec,
    texts,
    st.dictionaries(texts, st.integers(-(2**53), 2**53) | floats | texts | st.booleans(), max_size=3),
)
specs = st.builds(
    ModelSpec,
    st.tuples(inputs),
    st.tuples(outputs),
    st.sampled_from(["detect", "classify", "values"]),
    decoder=decoders,
    labels=st.lists(texts, max_size=3).map(tuple),
    metadata=st.dictionaries(texts, texts, max_size=3),
)
precision_reports = st.builds(
    PrecisionReport,
    st.sampled_from(["fp32", "fp16", "int8"]),
    st.dictionaries(texts, st.integers(0, 10**9), max_size=3),
    plan_share=floats,
    opaque=st.lists(texts, max_size=2),
    evidence=texts,
)
manifests = st.builds(
    Manifest,
    plan_sha256=texts,
    plan_bytes=st.integers(0, 2**40),
    onnx=texts,
    onnx_sha256=texts,
    tensorrt=texts,
    cuda=texts,
    driver=st.none() | texts,
    gpu=texts,
    capability=texts,
    precision=st.sampled_from(["fp32", "tf32", "fp16", "bf16", "int8"]),
    spec=specs,
    precision_report=precision_reports,
    options=st.builds(
        BuildOptions,
        workspace=st.none() | st.integers(1, 2**40),
        optimization_level=st.none() | st.integers(0, 5),
        tf32=st.none() | st.booleans(),
        version_compatible=st.booleans(),
        hardware_compatible=st.sampled_from(["none", "ampere+", "same-cc"]),
        plugin_libs=st.lists(texts, max_size=2).map(tuple),
        timeout=st.none() | st.floats(1, 1e6),
    ),
    keep_fp32=st.lists(texts, max_size=2).map(tuple),
    plugin_libs=st.lists(st.builds(LibraryRecord, texts, texts), max_size=2),
    patches=st.lists(st.builds(PatchRecord, texts, texts, texts, texts, texts, st.integers(0, 99)), max_size=2),
    passes=st.lists(st.builds(PassRecord, texts, texts, texts, st.integers(), st.integers(), floats), max_size=1),
    checks=st.lists(
        st.builds(
            Link,
            st.integers(0, 5),
            texts,
            st.sampled_from(["passed", "failed", "not run"]),
            texts,
            st.lists(st.builds(Check, texts, texts, floats, st.none() | floats, st.booleans()), max_size=1),
        ),
        max_size=2,
    ),
    messages=st.lists(st.builds(LogNote, texts, st.integers(0, 9), texts), max_size=2),
    plugins=st.dictionaries(texts, texts, max_size=2),
    command=texts,
    build_seconds=floats,
)


@settings(max_examples=60)
@given(manifests)
def test_manifests_survive_their_json(made: Manifest) -> None:
    assert Manifest.from_json(made.to_json()) == made


@given(st.binary(max_size=60) | st.from_regex(r'\{"format": ?"adaptrt engine 1".{0,40}').map(str.encode))
def test_anything_else_is_a_clear_error(data: bytes) -> None:
    with pytest.raises(EngineError):
        Manifest.from_json(data)


@settings(max_examples=60)
@given(manifests, st.data())
def test_a_manifest_with_a_wrong_field_is_a_clear_error(made: Manifest, data: st.DataObject) -> None:
    fields = msgspec.json.decode(made.to_json())
    key = data.draw(st.sampled_from(sorted(fields)))
    wrong = [[[1]]] if isinstance(fields[key], dict) else [[[1]], {"x": [None]}]  # unknown keys are a later version's
    fields[key] = data.draw(st.sampled_from(wrong))
    with pytest.raises(EngineError):
        Manifest.from_json(msgspec.json.encode(fields))


@pytest.mark.parametrize("version", ["", "x.y", ".", "8.\u00b2", "\u0668.6", "9" * 5000])
@pytest.mark.parametrize("compatible", [True, False])
def test_a_version_that_is_none(plan: Path, version: str, compatible: bool) -> None:
    found = manifest(tensorrt=version, options=options(version_compatible=compatible))
    if compatible:
        check_manifest(found, plan, HERE)
        return
    with pytest.raises(EngineError, match="runs on the version that built it"):
        check_manifest(found, plan, HERE)
