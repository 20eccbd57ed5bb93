"""What starting a command costs: nothing heavy is imported, and it is quick."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from importlib.metadata import distributions as distributions_on_path

import pytest

from adaptrt.specs.installed import declaring_distributions

HEAVY = {
    "cv2", "jinja2", "mmdet", "msgspec", "numpy", "onnx", "onnx_ir", "onnxruntime", "PIL", "rich",
    "tensorrt", "timm", "torch", "ultralytics",
}  # fmt: skip


# what --set may give, and plugins.toml, are read with msgspec
ALLOWED = {"no adapter": {"msgspec"}, "adapters": {"msgspec"}}

CASES = {
    "import": "import adaptrt",
    "--version": "from adaptrt.cli.boundary import run; from adaptrt.cli.main import cli; run(cli, ['--version'], 'adaptrt')",
    "--help": "from adaptrt.cli.boundary import run; from adaptrt.cli.main import cli; run(cli, ['--help'], 'adaptrt')",
    "convert --help": "from adaptrt.cli.boundary import run; from adaptrt.cli.main import cli; run(cli, ['convert', '--help'], 'adaptrt')",
    "no adapter": "from adaptrt.cli.boundary import run; from adaptrt.cli.main import cli; run(cli, ['convert', 'x.pt'], 'adaptrt')",
    "adapters": "from adaptrt.cli.boundary import run; from adaptrt.cli.main import cli; run(cli, ['adapters'], 'adaptrt')",
}


@pytest.mark.parametrize("case", CASES)
def test_nothing_heavy_is_imported(case: str) -> None:
    code = f"{CASES[case]}\nimport sys; sys.stderr.write('IMPORTED ' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stderr.rpartition("IMPORTED ")[2].split())
    assert imported, done.stderr
    assert imported & HEAVY - ALLOWED.get(case, set()) == set()


STANDARD_LIBRARY = (
    "import asyncio, email.message, http.client, importlib.metadata, inspect, json, logging, unittest.mock"
)
"""Imports that take about 0.09 s of CPU where ``adaptrt --version`` takes 0.15 s; a busy machine slows both."""


def cpu_seconds(*words: str) -> float:
    """User and system time of a Python process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("word", ["--version", "--help"])
def test_starting_costs_little(word: str) -> None:
    # 0.15 s is the promise (benchmarks/startup measures it), 1.6 times the baseline: the least of some, in turns
    main = "from adaptrt.cli.main import main; raise SystemExit(main())"
    pairs = [(cpu_seconds("-c", STANDARD_LIBRARY), cpu_seconds("-c", main, word)) for _ in range(7)]
    baseline, ours = map(min, zip(*pairs, strict=True))
    assert ours < 3 * baseline, f"{ours:.2f} s beside {baseline:.2f} s"


READS = """
import os, sys

opened = []
sys.addaudithook(lambda event, args: opened.append(os.path.basename(str(args[0]))) if event == "open" else None)
from adaptrt.cli.main import main

code = main()
print("READ", opened.count("METADATA"), opened.count("entry_points.txt"), "importlib.metadata" in sys.modules)
"""


def metadata_read(*words: str) -> tuple[int, int, bool]:
    """How many files METADATA and entry_points.txt a command looks for, and whether it imports ``importlib.metadata``."""
    done = subprocess.run([sys.executable, "-c", READS, *words], capture_output=True, text=True, check=True)
    metadata, points, imported = done.stdout.rpartition("READ ")[2].split()
    return int(metadata), int(points), imported == "True"


def test_a_command_reads_no_metadata_but_cores() -> None:
    assert metadata_read("--version") == (0, 0, False)
    assert metadata_read("convert", "--help") == (0, 1, True)


def test_the_list_of_commands_reads_the_metadata_of_plugins_alone() -> None:
    distributions, plugins = len(list(distributions_on_path())), len(list(declaring_distributions()))
    assert plugins < distributions / 2  # else this shows nothing
    metadata, points, _ = metadata_read("--help")
    assert metadata <= plugins
    assert points <= distributions + plugins  # those of plugins are searched, then parsed
