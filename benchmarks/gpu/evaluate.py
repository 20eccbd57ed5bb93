"""Runs ``adaptrt evaluate`` on the trained fixtures: eager torch, ONNX Runtime and the engine, side by side.

::

    python -m benchmarks.gpu.evaluate all --work build/evaluate     on a machine with a GPU, TensorRT and torch
    python -m benchmarks.gpu.evaluate convert|build|evaluate|report

Each stage stores its results in the work folder and resumes from there. Stages can run in different environments on one
machine: ``convert`` needs torch and the frameworks, ``build`` the full TensorRT, ``evaluate`` torch, ONNX Runtime and any
TensorRT, because the engines are version-compatible.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common.fixture_scores import FIXTURES
from benchmarks.common.results import use_fixtures
from benchmarks.gpu.work import Work, collected, compared_level, run_stages, say, stage_parser

BATCHES = (1, 8)
LOSS = {"fp32": 0.1, "fp16": 0.5}
"""Points that a precision may cost, in every score."""


@dataclass(frozen=True)
class Case:
    """A trained fixture, and how many held-out images it is scored on."""

    adapter: str
    source: str
    images: int
    weights: str | None = None
    classes: bool = False


CASES = (
    Case("yolov5", "yolov5n_shapes.pt", 200),
    Case("detr", "detr_shapes.py", 200, weights="detr_shapes.pth"),
    Case("swin", "swin_shapes", 1000, classes=True),
)


def adaptrt(work: Work, name: str, words: Sequence[object]) -> str:
    """The command to its end; what it printed. A failure is a result too: it is kept, and the benchmark ends.

    Its stages go to a log as they end, which shows where it was if it is stopped.
    """
    environment = {**os.environ, "ADAPTRT_CACHE_DIR": str(work.folder / "cache")}
    command = [sys.executable, "-m", "adaptrt", *map(str, words)]
    log = work.folder / "logs" / f"{name}.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as stages:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=stages, text=True, check=False)
    if done.returncode:
        said = log.read_text()
        work.keep(f"failed_{name}", {"command": words_of(words), "code": done.returncode, "error": said[-2000:]})
        raise SystemExit(f"{words_of(words)}\n{done.stdout}\n{said}")
    return done.stdout


def words_of(words: Sequence[object]) -> str:
    """As typed in the work folder."""
    return " ".join(["adaptrt", *(word.name if isinstance(word, Path) else str(word) for word in words)])


def data_of(work: Work, case: Case) -> Path:
    """The held-out images of the fixture, drawn once."""
    use_fixtures()
    import draw_shapes
    import train_detr

    from benchmarks.swin.gpu import HELD_OUT_SEED
    from benchmarks.yolo.work import SEED

    folder = work.folder / case.adapter
    target = folder / ("classes" if case.classes else "instances.json")
    if target.exists():
        return target
    if case.classes:
        return draw_shapes.write_classification_set(folder, case.images, HELD_OUT_SEED)
    detr = case.adapter == "detr"
    seed, look = (train_detr.HELD_OUT_SEED, train_detr.LOOK) if detr else (SEED, draw_shapes.DETECTION)
    return draw_shapes.write_detection_set(folder, case.images, seed, look, suffix=".png", workers=8)


def convert(work: Work) -> None:
    """Each fixture to a file for TensorRT 8, and its images."""
    for case in CASES:
        data_of(work, case)
        if work.onnx(case.adapter).exists():
            continue
        words: list[object] = [
            "convert",
            "--adapter",
            case.adapter,
            FIXTURES / case.source,
            "-o",
            work.onnx(case.adapter),
        ]
        words += ["--weights", FIXTURES / case.weights] if case.weights else []
        words += ["--batch", "1:8:8", "--target", "8", "--exporter", "torchscript", "--opset", "17", "--quiet"]
        adaptrt(work, case.adapter, words)
        say(f"converted {case.adapter}")


def build(work: Work) -> None:
    for case in CASES:
        for precision in LOSS:
            engine = work.engine(f"{case.adapter}_{precision}")
            if engine.exists():
                continue
            words: list[object] = ["build", work.onnx(case.adapter), "-o", engine, "--precision", precision]
            words += ["--opt-level", compared_level(work, precision), "--version-compatible"]
            words += ["--tactic-sources", work.options.tactics, "--quiet"]
            adaptrt(work, engine.stem, words)
            say(f"built {engine.name}")


def evaluate(work: Work) -> None:
    """Scores of every backend at batch 1 and 8; the command fails where an engine loses more than it may."""
    for case in CASES:
        for precision, loss in LOSS.items():
            for batch in BATCHES:
                name = f"{case.adapter}_{precision}_{batch}"
                if work.kept(f"evaluate_{name}"):
                    continue
                engine = work.engine(f"{case.adapter}_{precision}")
                words: list[object] = ["evaluate", work.onnx(case.adapter), engine, "--data", data_of(work, case)]
                words += ["--backend", "eager,onnxruntime,tensorrt", "--batch", batch, "--max-loss", loss]
                words += ["--allow-host-code", "--adapter", case.adapter, "--source", FIXTURES / case.source]
                words += ["--weights", FIXTURES / case.weights] if case.weights else []
                words += ["--json"]
                found = json.loads(adaptrt(work, name, words))
                kept = ("backend", "file", "scores", "same")  # other work may have run beside: no rates
                results = [{key: one[key] for key in kept} for one in found["results"]]
                work.keep(
                    f"evaluate_{name}", {"command": words_of(words), "images": found["images"], "results": results}
                )
                say(f"{name}: { {one['backend']: one['scores'] for one in results} }")


def report(work: Work) -> None:
    """Everything in one file."""
    say(f"written: {work.write('gpu_evaluate', collected(work))}")


def main() -> None:
    stages: dict[str, Callable[[Work], None]] = {
        "convert": convert,
        "build": build,
        "evaluate": evaluate,
        "report": report,
    }
    run_stages(stages, Work(stage_parser(__doc__, list(stages), "evaluate").parse_args()))


if __name__ == "__main__":
    main()
