"""The build process: how it ends, whatever ends it. A stand-in for TensorRT runs in there."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorrt_surfaces
from engine_files import build_engine_file
from patience import HANG, wait_until

from adaptrt.backends.tensorrt.build.engine import BuildWatcher
from adaptrt.backends.tensorrt.build.log import LogNote
from adaptrt.backends.tensorrt.manifest import Manifest, manifest_path
from adaptrt.errors import BuildError, EngineError
from adaptrt.specs import BuildOptions, InputSpec, ModelSpec, parse_shape

onnx = pytest.importorskip("onnx", reason="onnx makes the files")

TENSORRT = """
import importlib.util, os, signal, sys, time
spec = importlib.util.spec_from_file_location("stand_ins", os.environ["STAND_INS"])
stand_ins = importlib.util.module_from_spec(spec)
spec.loader.exec_module(stand_ins)
module = stand_ins.make_stand_in(os.environ["STAND_IN_VERSION"])
globals().update(vars(module))
logger = None

def build(network, config):
    behavior = os.environ["STAND_IN_BUILD"]
    print("native code prints where it likes")
    if behavior == "hang":
        time.sleep(3600)  # ended by the test
    if behavior.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, behavior))
    if behavior == "raise":
        raise ValueError("what is this")
    if behavior == "refuse":
        logger.log(module.ILogger.Severity.ERROR, "10: Could not find any implementation for node conv.")
        return None
    if behavior == "exit":
        os._exit(3)
    for _ in range(3):
        logger.log(module.ILogger.Severity.WARNING, "Your ONNX model has been generated with INT64 weights")
    logger.log(module.ILogger.Severity.INFO, "some detail")
    return b"the plan"

def make_builder(self, given):
    global logger
    logger = given

module.Builder.__init__ = make_builder
module.answers.update({
    ("INetworkDefinition", "num_inputs"): 1,
    ("ITensor", "name"): "images",
    ("ITensor", "shape"): eval(os.environ["STAND_IN_SHAPE"]),
    ("ITensor", "is_shape_tensor"): False,
    ("EngineInspector", "get_engine_information"): os.environ["STAND_IN_LAYERS"],
    ("Builder", "build_serialized_network"): build,
    ("ITimingCache", "serialize"): b"timings",
})
"""

CUDA = """
from types import SimpleNamespace

def cudaSetDevice(index): return (0,) if index == 0 else (101,)
def cudaGetDeviceProperties(index): return 0, SimpleNamespace(name=b"Test GPU", major=9, minor=0)
def cudaMemGetInfo(): return 0, 1 << 30, 2 << 30
def cudaRuntimeGetVersion(): return 0, 12090
"""

FLOAT = '{"Layers": [{"Name": "c", "LayerType": "CaskConvolution", "Weights": {"Type": "Float", "Count": 9}}]}'
HALF = FLOAT.replace("Float", "Half")
SPEC = ModelSpec((InputSpec("images", (parse_shape("1..4x3x8x8"),)),))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node("Conv", ["images", "w"], ["out"], name="/conv")],
        "net",
        [helper.make_tensor_value_info("images", 1, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("out", 1, None)],
        [helper.make_tensor("w", 1, [4, 3, 1, 1], [0.5] * 12)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), str(tmp_path / "model.onnx"))
    return tmp_path / "model.onnx"


@pytest.fixture
def stand_in_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put the stand-ins on the path of processes started later; call it to say what the builder does."""
    fakes = tmp_path / "fakes"
    (fakes / "cuda" / "bindings").mkdir(parents=True)
    (fakes / "cuda" / "__init__.py").touch()
    (fakes / "cuda" / "bindings" / "__init__.py").touch()
    (fakes / "cuda" / "bindings" / "runtime.py").write_text(textwrap.dedent(CUDA))
    (fakes / "tensorrt.py").write_text(TENSORRT)
    support = str(Path(tensorrt_surfaces.__file__).parent)
    path = filter(None, [str(fakes), support, os.environ.get("PYTHONPATH")])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    monkeypatch.setenv("STAND_INS", str(Path(__file__).parent / "conftest.py"))

    def behave(behavior: str, *, layers: str = FLOAT, version: str = "8.6.0", shape: str = "(-1, 3, 8, 8)") -> None:
        monkeypatch.setenv("STAND_IN_BUILD", behavior)
        monkeypatch.setenv("STAND_IN_LAYERS", layers)
        monkeypatch.setenv("STAND_IN_VERSION", version)
        monkeypatch.setenv("STAND_IN_SHAPE", shape)

    return behave


class Heard(BuildWatcher):
    def __init__(self) -> None:
        super().__init__()
        self.stages: list[str] = []
        self.notes: list[LogNote] = []
        self.messages: list[str] = []

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def note(self, note: LogNote) -> None:
        self.notes.append(note)

    def message(self, severity: str, text: str) -> None:
        self.messages.append(text)


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name not in ("fakes", "model.onnx"))


def test_an_engine_and_its_manifest(model: Path, stand_in_process: Callable[..., None], tmp_path: Path) -> None:
    stand_in_process("ok")
    heard = Heard()
    made = build_engine_file(model, tmp_path / "best.engine", spec=SPEC, watcher=heard, timing_folder=tmp_path / "t")
    assert (tmp_path / "best.engine").read_bytes() == b"the plan"
    manifest = Manifest.from_json(manifest_path(tmp_path / "best.engine").read_text())
    assert manifest == made
    assert (manifest.tensorrt, manifest.gpu, manifest.cuda) == ("8.6.0", "Test GPU", "12.9")
    assert manifest.rebuild == "adaptrt build model.onnx --shape images=1..4@4x3x8x8"
    assert manifest.messages[0].count == 3
    assert heard.stages == ["parse", "build", "inspect"]
    assert [note.name for note in heard.notes] == ["int64 weights"]
    assert "some detail" not in heard.messages
    assert left_over(tmp_path) == ["best.engine", "best.engine.json", "t"]
    assert [path.suffix for path in (tmp_path / "t").iterdir() if path.suffix == ".cache"] == [".cache"]


def test_all_messages_with_a_lower_level(model: Path, stand_in_process: Callable[..., None], tmp_path: Path) -> None:
    stand_in_process("ok")
    heard = Heard()
    heard.log_level = "info"
    build_engine_file(model, tmp_path / "best.engine", spec=SPEC, watcher=heard)
    assert "some detail" in heard.messages
    assert len([text for text in heard.messages if "INT64" in text]) == 3


@pytest.mark.parametrize(
    ("behavior", "message"),
    [
        ("SIGSEGV", "TensorRT crashed .SIGSEGV."),
        ("SIGABRT", "TensorRT crashed .SIGABRT."),
        ("SIGKILL", "was killed, most likely because the machine ran out of memory"),
        ("raise", "ValueError: what is this"),
        ("exit", "exited with status 3 without a result"),
        ("refuse", "could not build the engine.*Could not find any implementation"),
    ],
)
def test_a_build_that_fails(
    behavior: str, message: str, model: Path, stand_in_process: Callable[..., None], tmp_path: Path
) -> None:
    stand_in_process(behavior)
    with pytest.raises(BuildError, match=message) as caught:
        build_engine_file(model, tmp_path / "best.engine", spec=SPEC)
    assert caught.value.hint
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("share", [1, 0.5, 0], ids=["rewritten", "truncated", "emptied"])
def test_a_file_that_changes_during_the_build(
    share: float, model: Path, stand_in_process: Callable[..., None], tmp_path: Path
) -> None:
    """Whether the build process reads it before, while or after it changes: then its error is about the change, too."""
    stand_in_process("ok")
    content = model.read_bytes()

    class Replacing(Heard):
        def stage(self, name: str) -> None:
            model.write_bytes(content[: int(share * len(content))])

    with pytest.raises(BuildError, match="model.onnx changed during the run") as caught:
        build_engine_file(model, tmp_path / "best.engine", spec=SPEC, watcher=Replacing())
    assert caught.value.hint
    assert left_over(tmp_path) == []


def test_a_precision_that_nothing_shows(model: Path, stand_in_process: Callable[..., None], tmp_path: Path) -> None:
    stand_in_process("ok", layers=FLOAT)
    with pytest.raises(BuildError, match="No evidence of fp16"):
        build_engine_file(model, tmp_path / "best.engine", spec=SPEC, precision="fp16")
    assert left_over(tmp_path) == []
    stand_in_process("ok", layers=HALF)
    manifest = build_engine_file(model, tmp_path / "best.engine", spec=SPEC, precision="fp16")
    assert manifest.precision_report.layers == {"fp16": 1}


def test_a_build_that_takes_too_long(model: Path, stand_in_process: Callable[..., None], tmp_path: Path) -> None:
    stand_in_process("hang")
    with pytest.raises(BuildError, match="timed out after 2 s"):
        build_engine_file(model, tmp_path / "best.engine", spec=SPEC, options=BuildOptions(timeout=2))
    assert left_over(tmp_path) == []


def test_an_error_of_the_build_process_keeps_its_kind(
    model: Path, stand_in_process: Callable[..., None], tmp_path: Path
) -> None:
    stand_in_process("ok")
    with pytest.raises(EngineError, match="CUDA: 101 .device 7."):
        build_engine_file(model, tmp_path / "best.engine", spec=SPEC, options=BuildOptions(device=7))


def test_ctrl_c_ends_the_build(model: Path, stand_in_process: Callable[..., None], tmp_path: Path) -> None:
    stand_in_process("hang")
    program = textwrap.dedent(
        f"""
        import signal
        from adaptrt.specs import InputSpec, ModelSpec, parse_shape
        from adaptrt.backends.tensorrt.build.engine import BuildWatcher
        from engine_files import build_engine_file
        signal.signal(signal.SIGINT, signal.default_int_handler)  # the shell of the tests may have it ignored
        class Watcher(BuildWatcher):
            def stage(self, name):
                print(name, flush=True)
        spec = ModelSpec((InputSpec("images", (parse_shape("1..4x3x8x8"),)),))
        try:
            build_engine_file({str(model)!r}, {str(tmp_path / "best.engine")!r}, spec=spec, watcher=Watcher())
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    watchdog = threading.Timer(HANG, process.kill)
    watchdog.start()
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "build":
            children = children_of(process.pid)
            process.send_signal(signal.SIGINT)
            break
    assert "interrupted" in process.stdout.read()
    assert process.wait() == 0
    watchdog.cancel()
    assert children
    assert not [child for child in children if is_running(child)]
    assert left_over(tmp_path) == []


def test_ctrl_c_in_the_start_of_the_build_process_ends_it(
    model: Path, stand_in_process: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process runs, but its handle is lost."""
    if sys.platform != "linux":
        pytest.skip("Linux only")
    stand_in_process("hang")
    started: list[int] = []

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            started.append(self.pid)
            assert self.stdout is not None
            while b'"build"' not in self.stdout.readline():  # from then on, it does not print
                pass
            raise KeyboardInterrupt

        def __del__(self) -> None:
            """Without the warning that it still runs."""

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_engine_file(model, tmp_path / "best.engine", spec=SPEC)
    gc.collect()
    monkeypatch.undo()
    ended = threading.Event()

    def wait() -> None:
        os.waitpid(started[0], 0)
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    try:
        assert ended.wait(HANG)
    finally:
        if not ended.is_set():
            os.kill(started[0], signal.SIGKILL)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_build_ends_with_its_parent(model: Path, stand_in_process: Callable[..., None], tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("Linux only")
    stand_in_process("hang")
    program = textwrap.dedent(
        f"""
        import os, signal
        from adaptrt.specs import InputSpec, ModelSpec, parse_shape
        from adaptrt.backends.tensorrt.build.engine import BuildWatcher
        from engine_files import build_engine_file
        class Watcher(BuildWatcher):
            def stage(self, name):
                if name == "build":
                    print(open(f"/proc/{{os.getpid()}}/task/{{os.getpid()}}/children").read(), flush=True)
                    os.kill(os.getpid(), signal.SIGKILL)
        spec = ModelSpec((InputSpec("images", (parse_shape("1..4x3x8x8"),)),))
        build_engine_file({str(model)!r}, {str(tmp_path / "best.engine")!r}, spec=spec, watcher=Watcher())
        """
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=False)
    children = [int(child) for child in done.stdout.split()]
    assert children
    wait_until(lambda: not any(map(is_running, children)), "the end of the build process")


def test_extensions_configure_the_builder_in_the_build_process(
    tiny: str,
    stand_in_process: Callable[..., None],
    install_extension: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The whole road from a conversion: the session opens again in the process of the stand-in for TensorRT."""
    import adaptrt

    install_extension(
        "tunes",
        f"""
        from pathlib import Path

        @hookimpl
        def configure_builder(ctx, network, config):
            config.max_aux_streams = 2
            seen = Path({str(tmp_path / "seen")!r})
            seen.write_text(f"{{ctx.request.source}} {{type(network).__name__}} {{type(config).__name__}}")
        """,
    )
    stand_in_process("ok", shape="(-1, 3, 64, 64)")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.environ["PYTHONPATH"], *sys.path]))
    monkeypatch.setattr("adaptrt.backends.tensorrt.engine_backend.engine_unavailable_reason", lambda *_: None)
    report = adaptrt.convert("detector", adapter="tiny", target=8, verify="none", html=False)
    assert (tmp_path / "seen").read_text() == "detector INetworkDefinition IBuilderConfig"
    assert Path("detector.engine").read_bytes() == b"the plan"
    assert report.artifacts[0].facts["TensorRT"] == "8.6.0"
    assert "TensorRT, int64 weights" in report.warnings[0]
    manifest = Manifest.from_json(Path("detector.engine.json").read_text())
    assert (manifest.adapter, manifest.plugins["tunes"]) == ("tiny", "adaptrt-tunes 1.0")


def test_the_command_runs_with_what_an_engine_needs_and_no_more(
    model: Path, stand_in_process: Callable[..., None], tmp_path: Path
) -> None:
    """Installed as ``adaptrt[trt]``: without torch, onnx, ONNX Runtime and Pillow."""
    stand_in_process("ok")
    missing = ("torch", "torchvision", "onnx", "onnx_ir", "onnxruntime", "onnxscript", "onnxsim", "PIL")
    (tmp_path / "fakes" / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({missing!r}))\n"  # None there: not to be found
    )
    command = [sys.executable, "-m", "adaptrt", "build", str(model), "--target", "8", "--shape", "images=1..4x3x8x8"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Verification skipped: onnxruntime is not installed" in done.stderr
    assert (tmp_path / "model.engine").read_bytes() == b"the plan"
    done = subprocess.run(
        [sys.executable, "-m", "adaptrt", "inspect", str(tmp_path / "model.engine"), "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '"built with": "TensorRT 8.6.0' in done.stdout
