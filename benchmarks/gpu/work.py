"""Shared by the GPU benchmarks: a work folder to resume from, stages, parallel builds, torch timings.

Stages store their results in the work folder, and can run in different environments on one machine. torch is imported only
by the stages that measure it, because TensorRT's environment may not have it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

from adaptrt.specs import BuildOptions, ModelSpec
from benchmarks.common.results import FOLDER, machine

ROOT = Path(__file__).parents[2]
Call = Callable[[], Any]


class Work:
    """The work folder: graphs, engines, what eager torch gave, results."""

    folders: tuple[str, ...] = ("onnx", "engines", "timing", "reference", "results")

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.folder: Path = options.work.resolve()
        for name in self.folders:
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def onnx(self, graph: str) -> Path:
        return self.folder / "onnx" / f"{graph}.onnx"

    def engine(self, name: object) -> Path:
        return self.folder / "engines" / f"{name}.engine"

    def manifests(self) -> list[Path]:
        """Every engine that has one; the engine itself may be elsewhere."""
        return [path.with_suffix("") for path in sorted((self.folder / "engines").glob("*.engine.json"))]

    def reference(self, name: str) -> Path:
        return self.folder / "reference" / f"{name}.npz"

    def spec(self, graph: str) -> ModelSpec:
        from adaptrt.onnxfile.reader import read_onnx

        spec = read_onnx(self.onnx(graph)).spec
        assert spec is not None
        return spec

    def keep(self, name: str, result: Any) -> None:
        (self.folder / "results" / f"{name}.json").write_text(json.dumps(result, indent=1))

    def kept(self, name: str) -> Any:
        path = self.folder / "results" / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def write(self, name: str, result: Mapping[str, Any]) -> Path:
        """The whole report, with ``--keep`` also under benchmarks/results."""
        target = self.folder / f"{name}.json"
        target.write_text(json.dumps(result, indent=1) + "\n")
        if self.options.keep:
            shutil.copy(target, FOLDER / target.name)
        return target


W = TypeVar("W", bound=Work)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def stage_parser(description: str | None, stages: Sequence[str], work: str) -> argparse.ArgumentParser:
    """``STAGE ...`` and the options of every such benchmark; ``work`` is the folder's name below build/."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["all", *stages], nargs="+")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / work)
    parser.add_argument("--jobs", type=int, default=5, help="number of parallel builds")
    parser.add_argument(
        "--level", type=int, help="optimization level of engines that are compared; 0, half precision 1"
    )
    parser.add_argument("--timed-level", type=int, default=2, help="optimization level of engines that are timed")
    parser.add_argument("--tactics", default="EDGE_MASK_CONVOLUTIONS,JIT_CONVOLUTIONS", help="tactic sources")
    parser.add_argument("--timeout", type=float, help="seconds after which a build is aborted")
    parser.add_argument("--compile", default="default,reduce-overhead", help="modes of torch.compile; empty: none")
    parser.add_argument("--keep", action="store_true", help="report: write to benchmarks/results")
    return parser


def run_stages(stages: Mapping[str, Callable[[W], None]], work: W) -> None:
    for stage in stages if "all" in work.options.stage else work.options.stage:
        stages[stage](work)


def compared_level(work: Work, precision: str) -> int:
    """``--level``; without it 0, and 1 for half precision, which level 0 hardly looks at."""
    return int(precision == "fp16") if work.options.level is None else int(work.options.level)


def build_options(
    work: Work, precision: str, *, gigabytes: int, level: int | None = None, portable: bool = False
) -> BuildOptions:
    """``level`` None is ``--level``; a ``portable`` engine runs in the lean runtime of a later version, beside torch."""
    return BuildOptions(
        workspace=gigabytes << 30,
        optimization_level=compared_level(work, precision) if level is None else level,
        tactic_sources=tuple(work.options.tactics.split(",")),
        timeout=work.options.timeout,
        version_compatible=portable,
    )


def build_one(
    work: Work,
    name: str,
    graph: str,
    precision: Any,
    options: BuildOptions,
    *,
    keep_fp32: tuple[str, ...] = (),
    timing: str = "timing",
) -> float:
    """Seconds; ``timing`` is the folder of the timing cache."""
    from adaptrt.backends.tensorrt.build.engine import build_engine
    from adaptrt.backends.tensorrt.generations import default_target
    from adaptrt.backends.tensorrt.manifest import manifest_path
    from adaptrt.onnxfile.graph_spec import spec_of_graph
    from adaptrt.onnxfile.reader import read_onnx
    from adaptrt.specs import precision_named
    from adaptrt.specs.backends import BackendRequest
    from adaptrt.store.workspace import workspace

    file, engine = read_onnx(work.onnx(graph)), work.engine(name)
    engine.parent.mkdir(parents=True, exist_ok=True)
    with workspace(engine.parent, engine.stem) as folder:
        request = BackendRequest(
            onnx_path=work.onnx(graph),
            output=folder / "plan",
            spec=file.spec or spec_of_graph(file),
            precision=precision_named(precision),
            target=default_target(),
            keep_fp32=keep_fp32,
            options=options,
            cache=False,
        )
        manifest, _ = build_engine(request, timing_folder=work.folder / timing)
        manifest_path(request.output).replace(manifest_path(engine))
        request.output.replace(engine)
    return manifest.build_seconds


def build_side_by_side(work: Work, jobs: Mapping[str, Callable[[], float]]) -> None:
    """What is not built yet, several at a time; ``jobs`` by the name of the engine. A failure is a result too."""
    waiting = {name: job for name, job in jobs.items() if not work.engine(name).exists()}
    started = time.perf_counter()
    with ThreadPoolExecutor(work.options.jobs) as threads:
        futures = {threads.submit(job): name for name, job in waiting.items()}
        for future in as_completed(futures):
            name, error = futures[future], future.exception()
            say(f"build of {name} failed: {error}" if error else f"built {name} in {future.result():.0f} s")
            found = {"error": str(error)} if error else {"seconds": future.result()}
            work.keep(f"build_{name}", {**found, "at_once": len(waiting)})
    if waiting:
        say(f"{len(waiting)} engines in {time.perf_counter() - started:.0f} s")


def manifest_of(engine: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(Path(f"{engine}.json").read_text())
    return manifest


def precision_report_of(engine: Path) -> dict[str, Any]:
    """What the manifest says of the precision, without the list of layers."""
    return {name: value for name, value in manifest_of(engine)["precision_report"].items() if name != "table"}


def facts_of(engine: Path) -> dict[str, Any]:
    """Where an engine was built, and when."""
    manifest = manifest_of(engine)
    return {name: manifest[name] for name in ("gpu", "capability", "driver", "cuda", "tensorrt", "created")}


def places(work: Work) -> dict[str, Any]:
    """The machine of the engines, by their manifests, and this one: a report may be made elsewhere."""
    engines = work.manifests()
    return {"built_and_run_on": facts_of(engines[0]) if engines else {}, "scored_on": machine()}


def collected(work: Work) -> dict[str, Any]:
    """What every stage kept, by its name, and where."""
    found = sorted((work.folder / "results").glob("*.json"))
    return places(work) | {path.stem: json.loads(path.read_text()) for path in found}


def torch_facts() -> dict[str, Any]:
    import torch

    return {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "cuda": torch.version.cuda}


def finished(call: Call) -> Call:
    """The call, and then the GPU idle."""
    import torch

    def run() -> None:
        call()
        torch.cuda.current_stream().synchronize()

    return run


def compiled(network: Callable[[Any], Any], given: Any, modes: str, facts: dict[str, Any]) -> dict[str, Call]:
    """The network in each mode of torch.compile; how long compiling took, or what failed, goes into ``facts``."""
    import torch

    sides: dict[str, Call] = {}
    for mode in filter(None, modes.split(",")):
        function = torch.compile(network, mode=mode, dynamic=False)
        started = time.perf_counter()
        try:
            for _ in range(3):
                function(given)
            torch.cuda.synchronize()
        except Exception as error:  # what torch.compile cannot do is a result, not our failure
            facts[f"torch.compile {mode}"] = f"{type(error).__name__}: {str(error)[:300]}"
            continue
        facts[f"torch.compile {mode}: seconds to compile"] = time.perf_counter() - started
        sides[f"torch.compile {mode} fp16"] = lambda function=function: function(given)  # type: ignore[misc]
    return sides
