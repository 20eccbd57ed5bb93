"""``adaptrt bench``: the table, JSON, the page, exit codes, and how files are opened."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from copying_backend import Copying
from small_convnet import write_convnet

import adaptrt as package
from adaptrt.backends.onnxruntime.runner import OnnxRuntimeRunner
from adaptrt.backends.tensorrt.backend import BACKEND as TENSORRT
from adaptrt.errors import EngineError
from adaptrt.pipeline.bench import run
from adaptrt.pipeline.bench.records import Peak
from adaptrt.specs import BuildOptions
from adaptrt.specs.backend_parts import BuildOrigin
from adaptrt.specs.backends import OpenOptions
from adaptrt.specs.runners import DevicePeak

QUICK = ("--seconds", "0.01", "--turns", "6", "--cpu-threads", "1")


@pytest.fixture(autouse=True)
def quick_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "measure_cpu_peak", lambda: Peak(1e9, 1e9, "of a test"))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.chdir(tmp_path)
    return write_convnet(Path("a.onnx")), write_convnet(Path("b.onnx"))


@pytest.fixture
def copying(copying: Copying, monkeypatch: pytest.MonkeyPatch) -> Copying:
    monkeypatch.setattr(copying, "cuda_graphs", True, raising=False)
    return copying


def slow_down(monkeypatch: pytest.MonkeyPatch, name: str, seconds: float) -> None:
    """Runs of the file with this name take longer."""
    start, go = OnnxRuntimeRunner.__init__, OnnxRuntimeRunner.run

    def init(self: Any, path: Path, **options: Any) -> None:
        start(self, path, **options)
        self.slow = Path(path).name == name

    def delayed(self: Any, inputs: Any) -> Any:
        if self.slow:
            time.sleep(seconds)
        return go(self, inputs)

    monkeypatch.setattr(OnnxRuntimeRunner, "__init__", init)
    monkeypatch.setattr(OnnxRuntimeRunner, "run", delayed)


def test_files_side_by_side(adaptrt: Any, files: tuple[Path, Path]) -> None:
    result = adaptrt("bench", *files, "--batch", "1,4", "--threads", "2", *QUICK, "-o", "new/bench.html")
    assert result.code == 0, result.err
    rows = [line.split() for line in result.out.splitlines()]
    for name in ("a.onnx", "b.onnx"):
        for batch in ("1", "4"):
            assert any(row[:4] == [name, "call", batch, "2"] for row in rows)
            assert any(row[:5] == [name, "file", "alone", batch, "2"] for row in rows)
            assert any(row[:4] == [name, "preprocessing", batch, "2"] for row in rows)
    assert "compared with a.onnx" in result.out
    assert result.out.endswith("Written: new/bench.html\n")
    page = Path("new/bench.html").read_text()
    assert page.count("<polyline") == 2 * 2 * 2  # batches, files, call and file alone
    assert page.count("Images per second, call") == 2
    assert "<script" not in page


def test_a_limit_below_the_time_is_questioned(
    adaptrt: Any, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(run, "measure_cpu_peak", lambda: Peak(1.0, 1.0, "made up"))
    (note,) = (one for one in adaptrt("bench", files[0], *QUICK, "--json").json["notes"] if "limit" in one)
    assert note.startswith(
        "a.onnx runs faster than its physical limit: the peak that this is computed from may be too low"
    )
    assert "(OMP_NUM_THREADS=1 may limit the threads of NumPy)" in note


def test_json_has_the_work_and_the_limit(adaptrt: Any, files: tuple[Path, Path]) -> None:
    found = adaptrt("bench", files[0], "--batch", "2", *QUICK, "--json").json
    (row,) = found["rows"]
    assert row["batch"] == 2
    assert row["operations"] == 2 * 2 * (256 * 16 * 3 + 256 * 16 * 16 * 9 + 16 * 16 + 16 * 4)
    assert row["limit"] == pytest.approx(row["operations"] / 1e9 * 1000)
    assert row["limited_by"] == "arithmetic"
    assert row["limit_share"] == pytest.approx(row["limit"] / row["file"]["p50"])
    assert len(row["call"]["turns"]) == 6
    assert row["call"]["p50"] > row["preprocess"] > 0
    assert found["comparisons"] == []


def test_a_slower_file_ends_with_9(adaptrt: Any, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    slow_down(monkeypatch, "b.onnx", 0.01)
    result = adaptrt("bench", *files, *QUICK, "--max-regression", "50%")
    assert result.code == 9
    assert "Slower than allowed (50 %): b.onnx +" in result.err
    assert "file alone, batch 1, 1 thread: p50 " in result.err
    assert "compared with a.onnx" in result.out
    assert adaptrt("bench", *reversed(files), *QUICK, "--max-regression", "50%").code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.onnx", "--max-regression", "3%"], "--max-regression requires two files"),
        (["a.onnx", "b.onnx", "--max-regression", "fast"], "'fast' is not a percentage"),
        (["a.onnx", "b.onnx", "--max-regression", "-1"], "'-1' is not a percentage"),
        (["a.onnx", "--batch", "5"], "a.onnx supports a batch of 1 to 4; got 5."),
        (["a.onnx", "--batch", "0"], "--batch must be at least 1; got 0."),
        (["a.onnx", "--batch", "many"], "'many' is not a list of numbers"),
        (["a.onnx", "--seconds", "nan"], "--seconds must be above 0"),
        (["a.onnx", "--turns", "0"], "--turns must be at least 1"),
        (["a.onnx", "--gpu-peak", "900"], "'900' is not TFLOPS,GB/s"),
        (["a.onnx", "-o", "bench.txt"], "the page is an .html file"),
        (["a.onnx", "-o", "bench.html/"], "Error: bench.html is a folder.\nChoose another name with -o.\n"),
        (["eager"], "eager requires a file"),
        (["eager", "a.onnx"], "Backend eager needs --adapter and --source"),
    ],
)
def test_invalid_requests(adaptrt: Any, files: tuple[Path, Path], words: list[str], message: str) -> None:
    result = adaptrt("bench", *words)
    assert result.code == 2
    assert message in result.err


def test_a_misspelled_word_is_no_missing_file(adaptrt: Any, files: tuple[Path, Path]) -> None:
    result = adaptrt("bench", "eagr", "a.onnx")
    assert result.code == 4
    assert "File not found: eagr." in result.err
    assert "Did you mean 'eager'?" in result.err


def test_a_file_without_a_spec_is_measured_alone(adaptrt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_convnet(Path("plain.onnx"), None)
    assert adaptrt("bench", "plain.onnx").code == 2  # the batch is dynamic, and no size is given
    write_convnet(Path("a.onnx"))
    words = ("bench", "plain.onnx", "a.onnx", "--shape", "images=1..4x3x16x16", "--batch", "4", *QUICK)
    found = adaptrt(*words, "--json", "-o", "new/bench.html").json
    assert (
        "Images per second, file alone" in Path("new/bench.html").read_text()
    )  # of both, so that bars can be compared
    row = found["rows"][0]
    assert row["call"] is None
    assert row["file"]["calls"] >= 6
    assert "pre- and postprocessing are unknown" in found["forms"][0]["warnings"][0]


def test_a_file_with_a_spec_is_measured_at_the_given_shape(adaptrt: Any, files: tuple[Path, Path]) -> None:
    found = adaptrt("bench", "a.onnx", "b.onnx", "--shape", "images=3x3x16x16", *QUICK, "--json").json
    assert [row["batch"] for row in found["rows"]] == [3, 3]
    assert all(row["call"] is not None for row in found["rows"])


@pytest.mark.parametrize("names", [("a.onnx",), ("a.onnx", "b.onnx")])
def test_an_input_that_no_file_has(adaptrt: Any, files: tuple[Path, Path], names: tuple[str, ...]) -> None:
    result = adaptrt("bench", *names, "--shape", "imagse=1x3x16x16", *QUICK)
    assert result.code == 2
    assert "input 'imagse'" in result.err
    assert "Did you mean 'images'?" in result.err


@pytest.mark.parametrize("shape", ["1x3x64x64", "8x3x16x16", "3x16x16", "1..8x3x16x16"])
def test_a_shape_that_the_file_does_not_support(adaptrt: Any, files: tuple[Path, Path], shape: str) -> None:
    result = adaptrt("bench", "a.onnx", "--shape", f"images={shape}", *QUICK)
    assert result.code == 2
    assert "a.onnx supports 1..4@2x3x16x16." in result.err


def test_cuda_graphs_without_an_engine_are_a_warning(adaptrt: Any, files: tuple[Path, Path]) -> None:
    found = adaptrt("bench", files[0], "--cuda-graphs", "both", *QUICK)
    assert found.code == 0
    assert "Warning: --cuda-graphs has no effect" in found.out + found.err


def test_cuda_graphs_on_and_off(adaptrt: Any, files: tuple[Path, Path], copying: Copying) -> None:
    files[0].rename("net.copy.bin")
    found = adaptrt("bench", "net.copy.bin", "--cuda-graphs", "both", *QUICK, "--json").json
    assert [form["name"] for form in found["forms"]] == [
        "net.copy.bin, CUDA graphs on",
        "net.copy.bin, CUDA graphs off",
    ]
    assert [options.cuda_graphs for options in copying.opened] == [True, False]
    assert found["forms"][0]["work"] == "unknown: what the file was built from is not recorded"
    assert found["rows"][0]["operations"] is None
    text = adaptrt("bench", "net.copy.bin", *QUICK).out
    assert any(line.split()[-4:] == ["unknown"] * 4 for line in text.splitlines())


@pytest.fixture
def on_gpu(files: tuple[Path, Path], copying: Copying, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """``half.copy.bin`` in fp16 and ``full.copy.bin`` in fp32, on a GPU that measures itself; the list has what was measured."""
    measured: list[str] = []

    def measure_peak(self: Any) -> DevicePeak:
        measured.append(self.precision)
        if self.precision == "fp32":
            raise EngineError("Nothing works.")
        return DevicePeak(2e9, 1e9)

    def open_file(self: Any, path: Path, options: OpenOptions) -> Any:
        runner = OnnxRuntimeRunner(path)
        runner.precision = {"half": "fp16", "full": "fp32"}[path.name.partition(".")[0]]  # type: ignore[attr-defined]
        return runner

    def origin_of(path: Path) -> BuildOrigin:
        return BuildOrigin(onnx="b.onnx", precision="", options=BuildOptions())

    for name in ("half", "full"):
        shutil.copy(files[0], f"{name}.copy.bin")
    monkeypatch.setattr(copying, "devices", ("cuda",), raising=False)
    monkeypatch.setattr(copying, "origin_of", origin_of, raising=False)
    monkeypatch.setattr(Copying, "open", open_file)
    monkeypatch.setattr(OnnxRuntimeRunner, "measure_peak", measure_peak, raising=False)
    return measured


def test_the_peak_of_a_gpu_is_measured_for_each_precision(adaptrt: Any, on_gpu: list[str]) -> None:
    files = ("half.copy.bin", "full.copy.bin")
    found = adaptrt("bench", *files, "--cuda-graphs", "both", *QUICK, "--json").json
    assert on_gpu == ["fp16", "fp32"]
    assert found["gpu_peak"] is None
    assert found["gpu_peaks"]["fp16"]["operations"] == 2e9
    half, _, full, _ = found["rows"]
    assert half["limit"] == pytest.approx(half["operations"] / 2e9 * 1000)
    assert half["least_bytes"] < full["least_bytes"] < 2 * half["least_bytes"]
    assert full["limit"] is None
    assert "the physical limit in fp32 is unknown without --gpu-peak: Nothing works" in found["notes"]
    shown = adaptrt("bench", *files, *QUICK, "-o", "new/bench.html").out
    assert "GPU, fp16: 2 GFLOP/s, 1 GB/s (measured in this run: " in shown
    assert "GPU, fp16 peak</td><td>2 GFLOP/s" in Path("new/bench.html").read_text()


def test_work_is_not_counted_from_an_onnx_file_that_was_replaced(
    adaptrt: Any, on_gpu: list[str], copying: Copying, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = BuildOrigin(onnx="b.onnx", precision="", options=BuildOptions(), onnx_sha256="another")
    monkeypatch.setattr(copying, "origin_of", lambda path: origin, raising=False)
    found = adaptrt("bench", "full.copy.bin", *QUICK, "--json").json
    assert found["forms"][0]["work"] == "unknown: b.onnx is not identical to the file that full.copy.bin was built from"
    assert found["rows"][0]["operations"] is None


def test_a_peak_that_is_given_is_not_measured(adaptrt: Any, on_gpu: list[str]) -> None:
    found = adaptrt("bench", "full.copy.bin", "--gpu-peak", "989,1", *QUICK, "--json").json
    assert on_gpu == []
    assert found["rows"][0]["limit"] == pytest.approx(found["rows"][0]["least_bytes"] / 1e9 * 1000)
    shown = adaptrt("bench", "full.copy.bin", "--gpu-peak", "989,1", *QUICK).out
    assert "GPU: 989 TFLOP/s, 1 GB/s (--gpu-peak)" in shown


@pytest.mark.parametrize("graphs", [True, False])
def test_tensorrt_reads_the_option(monkeypatch: pytest.MonkeyPatch, graphs: bool) -> None:
    import adaptrt.backends.tensorrt.runtime as runtime

    given: dict[str, Any] = {}
    monkeypatch.setattr(runtime, "TensorRTRunner", lambda path, **options: given.update(options))
    TENSORRT.open(Path("x.engine"), OpenOptions(cuda_graphs=graphs))
    assert bool(given["cuda_graphs"]) is graphs


def test_from_python(files: tuple[Path, Path]) -> None:
    found = package.bench(*files, batch=2, seconds=0.01, turns=2, cpu_threads=1)
    assert [row.form for row in found.rows] == ["a.onnx", "b.onnx"]
    assert {one.what for one in found.comparisons} == {"call", "file alone"}
    assert found.regressions(1e9) == []


@pytest.mark.full
def test_the_source_model_beside_its_file(adaptrt: Any, converted: Callable[[str], Path], tiny: str) -> None:
    import torch

    before = torch.get_num_threads()
    path = converted("detector")
    package.convert("detector", adapter=tiny, output=path, verify="none", html=False)
    result = adaptrt("bench", "eager", path, "--adapter", tiny, "--source", "detector", *QUICK, "--json")
    assert result.code == 0, result.err
    assert [row["form"] for row in result.json["rows"]] == ["eager", "detector.onnx"]
    assert result.json["forms"][0]["backend"] == "eager"
    assert torch.get_num_threads() == before


@pytest.mark.full
def test_the_source_model_with_torch_compile(
    adaptrt: Any, converted: Callable[[str], Path], tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    path = converted("detector")
    package.convert("detector", adapter=tiny, output=path, verify="none", html=False)
    # Inductor, the default, runs a C++ compiler for a minute
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    words = ("compile", "eager", path, "--adapter", tiny, "--source", "detector")
    result = adaptrt("bench", *words, *QUICK, "--json")
    assert result.code == 0, result.err
    assert [row["form"] for row in result.json["rows"]] == ["compile", "eager", "detector.onnx"]
    assert [form["backend"] for form in result.json["forms"][:2]] == ["torch.compile", "eager"]

    def broken(*_: Any) -> Any:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", partial(torch.compile.func, backend=broken))
    result = adaptrt("bench", *words, *QUICK)
    assert result.code == 4
    assert "torch.compile failed" in result.err
    assert "no compiler" in result.err


def test_a_file_that_runs_on_a_device_is_also_measured_there(
    adaptrt: Any, on_gpu: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the copies of inputs and outputs; its share of the physical limit is of this time."""
    inputs = []

    def device_call(self: Any, given: Any) -> Any:
        inputs.append({name: array.shape for name, array in given.items()})
        return lambda: self.run(given) and None

    monkeypatch.setattr(OnnxRuntimeRunner, "device_call", device_call, raising=False)
    files = ("half.copy.bin", "full.copy.bin")
    found = adaptrt("bench", *files, *QUICK, "--json").json
    half, _ = found["rows"]
    assert half["device"]["calls"] > 0
    assert half["limit_share"] == pytest.approx(half["limit"] / half["device"]["p50"])
    assert inputs[0] == inputs[1] != {}
    assert [one["what"] for one in found["comparisons"]] == ["file alone", "on device", "call"]
    lines = adaptrt("bench", *files, *QUICK, "-o", "bench.html").out.splitlines()
    half_lines = [line for line in lines if line.startswith("half.copy.bin")]
    assert [
        what in line for what, line in zip(("  call ", " file alone ", " on device "), half_lines, strict=False)
    ] == [True] * 3
    assert Path("bench.html").read_text().count("<td>on device</td>") >= 2
