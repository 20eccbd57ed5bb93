"""``adaptrt sweep``: every combination, several at a time, resumable; results side by side."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_conversions import CONTENT, request, starts
from patience import HANG, wait_until

from adaptrt.batch.processes import PROCESSES
from adaptrt.cli.boundary import run
from adaptrt.cli.main import cli
from adaptrt.errors import OutputError, PluginError, UsageError
from adaptrt.specs.executors import CommandLimits
from adaptrt.sweep.bench import BenchPlan, bench_of, written_file
from adaptrt.sweep.plan import cells_of
from adaptrt.sweep.run import run_sweep
from adaptrt.sweep.table import rows_of


def test_every_combination() -> None:
    cells = cells_of(CONTENT, "s.toml")
    assert [cell.name for cell in cells] == [
        "one-64-fp32", "one-64-fp16", "one-64x96-fp32", "one-64x96-fp16", "two-64-fp32", "two-64-fp16", "two-64x96-fp32", "two-64x96-fp16",
    ]  # fmt: skip
    assert cells[1].options == {
        "verify": "quick",
        "source": "a/one.pt",
        "adapter": "torch",
        "imgsz": 64,
        "precision": "fp16",
    }
    assert cells[7].values == {"imgsz": "64x96", "precision": "fp16"}
    assert cells_of({"models": [{"source": "resnet18", "name": "../x y"}]}, "s.toml")[0].name == "_x_y"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"model": []}, "unknown key 'model'"),
        ({"models": []}, "lists no models"),
        ({"models": [{"name": "x"}]}, "has no source"),
        ({"models": [{"source": "x"}], "axes": {"imgsz": 64}}, r"\[axes\] imgsz must be a list"),
        ({"models": [{"source": "x", "imgsz": 64}], "axes": {"imgsz": [64]}}, "both an option and an axis"),
        ({"models": [{"source": "x"}], "options": {"output": "y"}}, "'output' is set by the sweep"),
        ({"models": [{"source": "a/x.pt"}, {"source": "b/x.pt"}]}, "two conversions are named 'x'"),
        ({"models": [{"source": "x", "name": "y" * 201}]}, "more than 200 characters: yyy"),
        ({"models": [{"source": "x", "name": "index.html"}]}, "index.html is the page of the results"),
        ({"models": [{"source": "x"}], "axes": {"a": [0] * 200, "b": [0] * 200}}, "40,000 conversions"),
    ],
)
def test_invalid_files_are_named(content: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        cells_of(content, "s.toml")


def test_errors_have_a_line(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text('[[models]]\nsource = "x"\n\n[axis]\nimgsz = [64]\n')
    with pytest.raises(UsageError, match=r"s\.toml:4: unknown key 'axis'"):
        cells_of({"models": [], "axis": {}}, str(path))
    path.write_text('[[models]]\nsource = "x"\n\n[axes]\nimgsz = 64\n')
    with pytest.raises(UsageError, match=r"s\.toml:5: \[axes\] imgsz must be a list"):
        cells_of({"models": [{"source": "x"}], "axes": {"imgsz": 64}}, str(path))


def test_results_side_by_side_and_resumed(tmp_path: Path) -> None:
    lines: list[str] = []
    rows = rows_of(run_sweep(request(tmp_path, jobs=3, gpus=("0", "1"), progress=lines.append)))
    assert [row.status for row in rows] == (["verified"] * 3 + ["failed"]) * 2
    good, bad = rows[0], rows[3]
    assert (good.nodes, good.difference, good.metric, good.bytes) == (5, 0.5, 0.9, 1000)
    assert (bad.text, bad.nodes) == ("no memory", None)
    assert lines[-1].startswith("8/8 ")
    assert (tmp_path / "out" / "one-64-fp32" / "log.txt").read_text() == "working\n"
    runs = [(path.parent, *path.read_text().split()) for path in (tmp_path / "out").glob("*/starts")]
    assert {gpu for _, _, gpu in runs} == {"0", "1"}
    for index in ("0", "1"):  # one conversion at a time on each
        spans = sorted(
            (float(start), float((folder / "ends").read_text())) for folder, start, gpu in runs if gpu == index
        )
        assert all(end <= following for (_, end), (following, _) in itertools.pairwise(spans))

    assert rows_of(run_sweep(request(tmp_path))) == rows
    assert set(starts(tmp_path).values()) == {1}, "nothing ran again"
    run_sweep(request(tmp_path, retry_failed=True, jobs=2))
    assert {name for name, count in starts(tmp_path).items() if count == 2} == {"one-64x96-fp16", "two-64x96-fp16"}
    changed = {**CONTENT, "options": {"verify": "full"}}
    run_sweep(request(tmp_path, cells=cells_of(changed, "s.toml")[:1]))
    assert starts(tmp_path)["one-64-fp32"] == 2, "other options, another conversion"


BENCH = """
import json, os, sys
from pathlib import Path
folder = Path(sys.argv[1]).parent
(folder / "benches").open("a").write(f"{sys.argv[1:]}\\n")
print("measuring", file=sys.stderr)
if folder.name == os.environ.get("BROKEN"):
    print(json.dumps({"error": {"message": "no device"}}))
    sys.exit(3)
print(json.dumps({"rows": [{"file": {"p50": 1.25}, "call": {"p50": 2.5}}]}))
"""


def test_latency_is_measured_after_the_conversions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file after another; measurements are kept, but not failed ones, those with other options, or of new files."""
    from adaptrt.rendering.sweeps import render_sweep

    (tmp_path / "bench.py").write_text(BENCH)
    plan = BenchPlan(("--batch=2",), (sys.executable, "-S", str(tmp_path / "bench.py")))
    monkeypatch.setenv("BROKEN", "two-64-fp32")
    lines: list[str] = []
    cells = cells_of(CONTENT, "s.toml")[4:]
    rows = rows_of(run_sweep(request(tmp_path, cells=cells, bench=plan, jobs=3, progress=lines.append)))
    by_name = {row.name: row for row in rows}
    assert (by_name["two-64-fp16"].latency, by_name["two-64-fp16"].call_latency) == (1.25, 2.5)
    assert (by_name["two-64-fp32"].latency, by_name["two-64-fp32"].text) == (None, "latency not measured: no device")
    assert by_name["two-64x96-fp16"].latency is None, "a failed conversion has no file"
    folder = tmp_path / "out" / "two-64-fp16"
    assert (folder / "benches").read_text() == f"{[str(folder / 'best.onnx'), '--batch=2', '--json']}\n"
    assert (folder / "log.txt").read_text() == "working\nmeasuring\n"
    assert lines[4].startswith("latency 1/3 ")
    page = render_sweep(rows, "s")
    assert "<th>latency</th>" in page
    assert "1.25 ms" in page

    monkeypatch.delenv("BROKEN")
    again = rows_of(run_sweep(request(tmp_path, cells=cells, bench=plan)))
    assert sum(row.latency == 1.25 for row in again) == 3
    counts = {path.parent.name: len(path.read_text().splitlines()) for path in (tmp_path / "out").glob("*/benches")}
    assert counts == {name: 1 + (name == "two-64-fp32") for name in counts}
    run_sweep(request(tmp_path, cells=cells[1:2], bench=replace(plan, words=("--batch=4",))))
    assert len((folder / "benches").read_text().splitlines()) == 2


@pytest.mark.parametrize(("jobs", "variable", "threads"), [(1, "", ""), (2, "", "4"), (16, "", "4"), (2, "3", "3")])
def test_conversions_share_the_cpus(
    jobs: int, variable: str, threads: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has its part of the cores, unless ``OMP_NUM_THREADS`` is set."""
    from adaptrt.batch import commands

    monkeypatch.setattr(commands, "cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    run_sweep(request(tmp_path, cells=cells_of(CONTENT, "s.toml")[:2], jobs=jobs))
    assert {path.read_text() for path in (tmp_path / "out").glob("*/threads")} == {threads}


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"seconds": 1, "turn": 3}, "has no option 'turn'"),
        ({"batch": "1,8"}, "batch must be one value"),
        ([], "bench must be a table"),
    ],
)
def test_an_invalid_bench_section_is_named(section: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        bench_of({"bench": section}, "s.toml")
    assert bench_of({}, "s.toml") is None


@pytest.mark.parametrize("path", ["/elsewhere/best.onnx", "../best.onnx", "best.onnx"])
def test_a_report_names_files_of_its_conversion(tmp_path: Path, path: str) -> None:
    assert written_file({"files": {"onnx": {"path": path}}}, tmp_path) == tmp_path / "best.onnx"
    assert written_file({"files": {}}, tmp_path) is None


@pytest.fixture
def sweep_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """``sweep_of("best.pt", "--jobs", "2")``: exit code and standard error of a sweep of one source, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def call(source: str, *words: str, tables: str = "") -> tuple[int, str]:
        Path("s.toml").write_text(f"{tables}\n[[models]]\nsource = {source!r}\n")
        return run(cli, ["sweep", "s.toml", *words], "adaptrt"), capsys.readouterr().err

    return call


def test_an_executor_for_images_only_is_rejected(sweep_of: Callable[..., tuple[int, str]]) -> None:
    code, said = sweep_of("x", "--executor", "local")
    assert code == 2
    assert "'local' runs images only" in said
    code, said = sweep_of("x", "--executor-set", "workers=2")
    assert code == 2
    assert "Use --jobs" in said


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ("[axes]\nprecision = ['fp32', 'fp99']", "best-fp99: Unknown precision 'fp99'."),
        ("[axes]\nimgsz = [64, 'wide']", "best-wide: "),
        ("[axes]\nopset = [17, 'x']", "best-x: Invalid value for '--opset': 'x' is not a valid integer"),
        ("[axes]\nopset = [17, 5]\nprecision = ['fp32', 'fp16']", "best-5-fp32: Opset 5 is too old."),
        ("[axes]\nsimplify = ['x']", "simplify must be true or false."),
        ("[options]\nbatch = 'many'", "best: Batch 'many' is invalid."),
        ("[bench]\nturns = 'x'", "[bench]: Invalid value for '--turns': 'x' is not a valid integer"),
    ],
)
def test_values_that_every_conversion_rejects(
    sweep_of: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch, tables: str, said: str
) -> None:
    monkeypatch.setenv("ADAPTRT_CONVERT_EXPORTER", "dynamo")
    code, error = sweep_of("best.pt", "--dry-run", tables=tables)
    assert (code, error[: len("Error: s.toml: ")]) == (2, "Error: s.toml: ")
    assert said in error
    assert not Path("sweep").exists()
    assert sweep_of("best.pt", tables=tables) == (code, error), "before any of them runs"


def test_a_value_that_some_conversions_reject_is_kept(sweep_of: Callable[..., tuple[int, str]]) -> None:
    tables = "[axes]\nprecision = ['fp32', 'int8']\nkeep-fp16 = [[], ['head']]"
    assert sweep_of("best.pt", "--dry-run", tables=tables) == (0, "")
    assert sweep_of("net.py:Net", "--dry-run", "--code", "net.py:Net") == (0, "")


class EndsEarly:
    """An executor that returns fewer results than it has commands."""

    name = "early"

    def __init__(self, limit: int) -> None:
        self._left = limit

    def run_commands(self, commands: Any, limits: CommandLimits, own: Any) -> Any:
        for result in PROCESSES.run_commands(commands, limits, own):
            if not self._left:
                return
            self._left -= 1
            yield result


@pytest.mark.parametrize("bench", [False, True])
def test_conversions_without_a_result_are_noticed(tmp_path: Path, bench: bool) -> None:
    cells = cells_of(CONTENT, "s.toml")[4:6]
    (tmp_path / "bench.py").write_text(BENCH)
    plan = BenchPlan((), (sys.executable, "-S", str(tmp_path / "bench.py"))) if bench else None
    with pytest.raises(PluginError, match="'early' returned no result for 1 commands") as found:
        run_sweep(request(tmp_path, cells=cells, bench=plan, executor=EndsEarly(3 if bench else 1)))
    assert "Run the same command again" in str(found.value.hint)
    assert len(rows_of(run_sweep(request(tmp_path, cells=cells, bench=plan)))) == 2
    assert len(starts(tmp_path)) == 2, "what had a result was kept"
    assert len(list((tmp_path / "out").glob("*/benches"))) == 2 * bench


def test_a_failed_conversion_is_answered_with_its_log(sweep_of: Callable[..., tuple[int, str]]) -> None:
    code, said = sweep_of("missing.pt", "-o", "my sweep")
    assert code == 9
    assert "1 of 1 conversions failed: missing: File not found: missing.pt." in said
    assert "--retry-failed runs them again. To see the log: cat 'my sweep/missing/log.txt'\n" in said
    assert "missing.pt" in Path("my sweep/missing/log.txt").read_text()


def is_running(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, conversions finish on their own")
def test_a_killed_sweep_is_continued(tmp_path: Path) -> None:
    """Conversions with a result are kept; those that ran end with it, and are run again."""
    program = (
        "import sys; sys.path[:0] = sys.argv[2:]; from pathlib import Path; import fake_conversions as t\n"
        "from adaptrt.sweep.run import run_sweep\n"
        "run_sweep(t.request(Path(sys.argv[1]), jobs=2))\n"
    )
    folders = [str(Path(__file__).parents[2] / "support")]
    command = [sys.executable, "-c", program, str(tmp_path), *folders]
    for number in (signal.SIGKILL, signal.SIGINT):
        process = subprocess.Popen(command, env={"STEPS": "100"}, stderr=subprocess.DEVNULL)
        enough = len(list((tmp_path / "out").glob("*/result.json"))) + 2
        wait_until(lambda enough=enough: len(list((tmp_path / "out").glob("*/result.json"))) >= enough, "results")
        process.send_signal(number)
        process.wait(HANG)
        ids = [int(path.read_text()) for path in (tmp_path / "out").glob("*/pid")]
        wait_until(lambda ids=ids: not any(map(is_running, ids)), "the end of its conversions")
    done = {path.parent.name for path in (tmp_path / "out").glob("*/result.json")}
    assert 4 <= len(done) < 8
    before = starts(tmp_path)
    rows = rows_of(run_sweep(request(tmp_path)))
    assert len(rows) == 8
    assert all(starts(tmp_path)[name] == before[name] for name in done)


def test_a_conversion_of_a_killed_sweep_does_not_write_into_the_next_one(tmp_path: Path) -> None:
    cells = cells_of({"models": [{"source": "one.pt"}]}, "s.toml")
    (tmp_path / "out" / "one").mkdir(parents=True)
    with (tmp_path / "out" / "one" / "report.json").open("w") as old:
        (row,) = rows_of(run_sweep(request(tmp_path, cells=cells)))
        old.write("x" * 10_000)
    assert rows_of(run_sweep(request(tmp_path, cells=cells))) == [row]
    assert row.status == "verified"


def test_names_are_not_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from adaptrt.rendering.sweeps import sweep_table

    content = {"models": [{"source": "one.pt", "name": "[bold]a[/x]"}], "axes": {"imgsz": ["[64]"]}}
    rows = rows_of(run_sweep(request(tmp_path, cells=cells_of(content, "s.toml"))))
    Console(width=200).print(sweep_table(rows))
    assert "[bold]a[/x]" in (shown := capsys.readouterr().out)
    assert "[64]" in shown


def test_an_output_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(OutputError) as caught:
        run_sweep(request(tmp_path))
    assert "out" in caught.value.message
    assert caught.value.hint


def test_one_sweep_at_a_time(tmp_path: Path) -> None:
    from filelock import FileLock

    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".sweep.lock"), pytest.raises(OutputError, match="Another process"):
        run_sweep(request(tmp_path))


def test_the_page_links_every_log(tmp_path: Path) -> None:
    from adaptrt.rendering.sweeps import render_sweep

    rows = rows_of(run_sweep(request(tmp_path, jobs=4)))
    page = render_sweep(rows, "s.toml <x>")
    assert "s.toml &lt;x&gt;" in page
    assert all(f'href="{row.name}/log.txt"' in page for row in rows)
    assert "2 failed" in page
    assert "no memory" in page


NET = "import torch\nclass Net(torch.nn.Module):\n    def forward(self, x):\n        return x.mean((2, 3)) * 2\n"


@pytest.mark.full
def test_real_conversions(tmp_path: Path) -> None:
    pytest.importorskip("adaptrt_torch", reason="the adapter of the test")
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "sweep.toml").write_text(
        '[options]\nadapter = "torch"\nto = "onnx"\nverify = "quick"\n'
        '[[models]]\nname = "net"\nsource = "net.py:Net"\n'
        '[axes]\nshape = [{x = "1x3x8x8"}, {x = "1x3x8"}]\n'
        "[bench]\nseconds = 0.1\nturns = 3\n"
    )

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "adaptrt", "sweep", "sweep.toml", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    refused = run("--dry-run")
    assert refused.returncode == 2
    assert "--code net.py:Net" in refused.stderr
    done = run("--code", "net.py:Net", "--jobs", "2", "--json")
    assert done.returncode == 9, done.stderr
    good, bad = json.loads(done.stdout)["conversions"]
    assert good["status"] in ("verified", "partly verified"), good
    assert good["nodes"] >= 1
    assert good["difference"] <= 1
    assert good["latency"] > 0, good["text"]
    assert (bad["status"], bad["nodes"]) == ("failed", None)
    assert bad["text"]
    assert (tmp_path / "sweep" / "index.html").exists()
