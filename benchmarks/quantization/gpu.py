"""int8 on TensorRT 8.6: fp32, fp16 and int8 engines of the same networks: built, timed in turns, scored; resumable.

::

    python -m benchmarks.quantization.gpu prepare --work build/int8      anywhere with torch: ONNX and Q/DQ files, images
    python -m benchmarks.quantization.gpu build|again|time|evaluate      on a machine with a GPU and TensorRT
    python -m benchmarks.quantization.gpu prepare build again time evaluate report --keep      results/gpu_int8.json

Every stage does the next missing rows, and starts none after ``--seconds`` (540), so a call ends within ten minutes; run it
again until it says that no rows are missing. ``--only yolov5m`` does the rows with this in their name. Files are skipped where they exist: small ones
may be prepared elsewhere and carried (``--only shapes``: 25 MB), large networks have random weights and are made in place.
One engine with a dynamic batch (1 to 32) for each network and precision; fp32 is built at level 0, fp16 and int8 at
``--level``, and at level 0 if the time was not enough; timing caches stay in the work folder (``cache``). On a GPU machine
whose calls end after 600 s, the order is::

    python -m benchmarks.quantization.gpu prepare build --only yolov5m --jobs 3
    python -m benchmarks.quantization.gpu prepare build --only swin_t --jobs 3
    python -m benchmarks.quantization.gpu time report --seconds 200
    python -m benchmarks.quantization.gpu prepare build again evaluate time report --jobs 3     until nothing is missing

int8 is the Q/DQ file of ``adaptrt quantize``, built with ``adaptrt build FILE --int8``. Where they are prepared, there are two
more int8 rows: ``tuned`` is quantized with the recipe in results/int8_tuned.json (``prepare`` does it), ``modelopt`` by NVIDIA
ModelOpt. That needs an environment of extensions/modelopt; its files are small and can be carried (``onnx/*.modelopt.npz``)::

    python -m benchmarks.quantization.gpu modelopt --only yolov5n_shapes --work build/int8

``again`` calibrates and builds the YOLOv5n fixture a second time, from the calibration cache and the timing cache, and
compares both. ``benchmarks.quantization.layers`` compares engines by layer; its output in ``results/layers_yolov5m.json``
becomes part of the report.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from adaptrt.specs.recipe import read_recipe
from benchmarks.common.results import read, table
from benchmarks.gpu.evaluate import adaptrt, words_of
from benchmarks.gpu.work import (
    Work,
    facts_of,
    manifest_of,
    places,
    precision_report_of,
    run_stages,
    say,
    stage_parser,
)
from benchmarks.quantization.networks import IMAGES, NETWORKS, Network, calibration_of, draw
from benchmarks.quantization.packed import pack, unpack

PRECISIONS = ("fp16", "int8", "fp32")  # in the order of their importance
VARIANTS = ("tuned", "modelopt")
"""Other int8 files of a network; a row where they were prepared."""
BATCHES = (1, 8, 32)
_SLOWER = "slower than fp16: not recommended"


class Folder(Work):
    """Files of the benchmark, and the rows that are still missing."""

    folders = (*Work.folders, "images", "weights", "calibration")

    def graph(self, network: Network, precision: str) -> Path:
        name = f"{network.name}.{precision}" if precision in VARIANTS else network.name
        return self.onnx(name if precision in {"fp16", "fp32"} else f"{name}.int8")

    def packed(self, network: Network) -> Path:
        """The Q/DQ file of ModelOpt without the weights in float32."""
        return self.onnx(f"{network.name}.modelopt").with_suffix(".npz")

    def row(self, network: Network, precision: str) -> str:
        return f"{network.name}_{precision}"

    def networks(self) -> list[Network]:
        return [network for network in NETWORKS if self.options.only in network.name]

    def rows(self) -> list[tuple[Network, str]]:
        return [
            (network, precision)
            for network in NETWORKS
            for precision in (*PRECISIONS, *VARIANTS)
            if self.options.only in self.row(network, precision)
            and (precision in PRECISIONS or self.graph(network, precision).exists())
        ]

    @property
    def left(self) -> float:
        """Seconds until no new row is started."""
        return float(self.options.seconds) - (time.monotonic() - STARTED)

    def level(self, row: str, precision: str) -> int:
        """The requested level; 0 for fp32, and for a row that ran out of time."""
        failed = self.kept(f"failed_build_{row}")
        late = bool(failed) and "timed out" in failed["error"]
        return 0 if precision == "fp32" or late else int(self.options.level)


STARTED = time.monotonic()


def in_time(work: Folder, name: str) -> bool:
    if work.left > 0:
        return True
    say(f"no time is left for {name}: run this again")
    return False


def prepare(work: Folder) -> None:
    """The float32 ONNX file of each network for TensorRT 8 and its Q/DQ file, and the images."""

    def one(network: Network) -> None:
        if network.scored:
            draw(work, network.images, IMAGES, network.seed)
        if work.packed(network).exists() and not work.graph(network, "modelopt").exists():
            unpack(work.packed(network), work.graph(network, "modelopt"))
        try:
            if not work.graph(network, "int8").exists() and in_time(work, network.name):
                _prepare(work, network)
            if network.recipe and not work.graph(network, "tuned").exists() and in_time(work, f"{network.name}.tuned"):
                _prepare_tuned(work, network)
        except SystemExit as error:  # a network that fails is a result, and the others go on
            say(f"FAILED prepare {network.name}: {str(error)[-600:]}")

    for network in work.networks():
        one(network)


def modelopt(work: Folder) -> None:
    """The Q/DQ file of ModelOpt, and its packed form."""
    for network in work.networks():
        float32, graph = work.graph(network, "fp32"), work.graph(network, "modelopt")
        if graph.exists():
            continue
        _convert(work, network)
        plugins = work.folder / "plugins.toml"
        plugins.write_text("[settings.modelopt]\nquantize = true\n", encoding="utf-8")
        calib = ("--calib", calibration_of(work, network), "--calib-images", network.calibration)
        words = ("quantize", float32, "-o", graph, "--target", "8", "--verify", "none", "--plugins", plugins, *calib)
        notes = json.loads(adaptrt(work, f"modelopt_{network.name}", [*words, "--json"]))["notes"]
        if not any("nvidia-modelopt" in note for note in notes if note.startswith("int8:")):
            raise SystemExit(f"{network.name}: ModelOpt did not quantize: {notes}")
        pack(graph, work.packed(network))
        say(f"ModelOpt quantized {network.name}: {work.packed(network).stat().st_size / 1e6:.1f} MB")


def _prepare_tuned(work: Folder, network: Network) -> None:
    """The Q/DQ file of the recipe that ``benchmarks.quantization.tuned`` found, if it did."""
    kept = read("int8_tuned").get(network.recipe, {}).get("precisions", {}).get("int8")
    if kept is None:
        return
    recipe = work.folder / "calibration" / f"{network.name}.recipe.toml"
    recipe.write_text(kept["recipe"], encoding="utf-8")
    found = read_recipe(recipe)
    if not (found.keep_fp32 or found.keep_fp16 or found.quantize_also):
        return  # the default placement
    words = [*_quantize_words(work, network, work.graph(network, "tuned")), "--recipe", recipe]
    adaptrt(work, f"quantize_{network.name}_tuned", words)
    say(f"quantized {network.name} with its recipe")


def _convert(work: Folder, network: Network) -> None:
    float32, verify = work.graph(network, "fp32"), "quick" if network.scored else "none"
    if float32.exists():
        return
    source, weights = network.source(work)
    words: list[object] = ["convert", source, "--adapter", network.adapter, "-o", float32, "--to", "onnx"]
    words += ["--weights", weights] if weights else []
    words += ["--target", "8", "--exporter", "torchscript", "--opset", "17", "--batch", "1:8:32"]
    words += [*network.words, "--verify", verify, "--quiet"]
    adaptrt(work, f"convert_{network.name}", words)


def _prepare(work: Folder, network: Network) -> None:
    _convert(work, network)
    started = time.perf_counter()
    words = _quantize_words(work, network, work.graph(network, "int8"))
    adaptrt(work, f"quantize_{network.name}", words)
    seconds = round(time.perf_counter() - started, 1)
    work.keep(f"quantize_{network.name}", {"command": words_of(words), "seconds": seconds})
    say(f"prepared {network.name}, quantized in {seconds} s")


def _quantize_words(work: Folder, network: Network, output: Path) -> list[object]:
    return [
        *("quantize", work.graph(network, "fp32"), "-o", output, "--target", "8", "--verify", "none", "--quiet"),
        *("--calib", calibration_of(work, network), "--calib-images", network.calibration),
        *("--calib-cache", work.folder / "calibration" / f"{network.name}.json"),
    ]


def build(work: Folder) -> None:
    """The engines, several at a time."""
    waiting = [
        (network, precision)
        for network, precision in work.rows()
        if work.graph(network, precision).exists() and not work.engine(work.row(network, precision)).exists()
    ]
    with ThreadPoolExecutor(work.options.jobs) as threads:
        list(threads.map(lambda row: _build(work, *row), waiting))


def _build(work: Folder, network: Network, precision: str) -> None:
    row = work.row(network, precision)
    if not in_time(work, row):
        return
    level = work.level(row, precision)
    words = _build_words(work, network, precision, work.engine(row), level)
    started = time.perf_counter()
    try:
        adaptrt(work, f"build_{row}", words)
    except SystemExit as error:
        say(f"FAILED build {row} at level {level}: {str(error)[-600:]}")
        return
    seconds = round(time.perf_counter() - started, 1)
    work.keep(f"build_{row}", described(work, work.engine(row), words, level) | {"command_seconds": seconds})
    say(f"built {row} at level {level} in {seconds} s")


def _build_words(work: Folder, network: Network, row: str, engine: Path, level: int) -> list[object]:
    precision = "int8" if row in VARIANTS else row
    return [
        *("build", work.graph(network, row), "-o", engine, "--to", "engine", "--precision", precision),
        *("--opt-level", level, "--tactic-sources", work.options.tactics, "--workspace", "4", "--no-cache"),
        *("--build-timeout", max(60, round(work.left)), "--verify", "none", "--quiet"),
    ]


def described(work: Folder, engine: Path, words: list[object], level: int) -> dict[str, Any]:
    """What a row says of its engine: how it was built, and its layers by type."""
    manifest = manifest_of(engine)
    layers = Counter(f"{one['kind']} {one['precision'] or 'unknown'}" for one in manifest["precision_report"]["table"])
    return {
        "command": words_of(words),
        "level": level,
        "tactic_sources": work.options.tactics,
        "build_seconds": manifest["build_seconds"],
        "plan_bytes": manifest["plan_bytes"],
        "precision_report": precision_report_of(engine),
        "layers by kind and type": dict(layers.most_common()),
        **facts_of(engine),
    }


def again(work: Folder) -> None:
    """The YOLOv5n fixture in int8 a second time: from the calibration cache and the timing cache."""
    network = next(network for network in NETWORKS if network.name == "yolov5n_shapes")
    row = work.row(network, "int8")
    kept = work.kept(f"build_{row}")
    if kept is None or work.kept("again") or not in_time(work, "again"):
        return
    graph, engine = work.onnx(f"{network.name}.again.int8"), work.engine(f"{row}_again")
    adaptrt(work, "quantize_again", _quantize_words(work, network, graph))
    words = _build_words(work, network, "int8", engine, kept["level"])
    words[1] = graph
    adaptrt(work, "build_again", words)
    first, second = (manifest_of(path) for path in (work.engine(row), engine))
    layers = [
        [(one["kind"], one["precision"]) for one in each["precision_report"]["table"]] for each in (first, second)
    ]
    work.keep(
        "again",
        {
            "same Q/DQ file": _sha256(work.graph(network, "int8")) == _sha256(graph),
            "same layers and types": layers[0] == layers[1],
            "same plan": first["plan_sha256"] == second["plan_sha256"],
            "largest difference of outputs": _difference(work.engine(row), engine),
            "build_seconds": [first["build_seconds"], second["build_seconds"]],
            "level": kept["level"],
            "tactic_sources": work.options.tactics,
        },
    )
    say(f"again: {work.kept('again')}")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _difference(first: Path, second: Path) -> float:
    from adaptrt.backends.tensorrt.runtime import TensorRTRunner

    images = np.random.default_rng(0).random((8, 3, 640, 640), np.float32)
    found = []
    for path in (first, second):
        with TensorRTRunner(path) as runner:
            found.append({name: np.array(value) for name, value in runner.run({"images": images}).items()})
    return max(float(np.abs(found[0][name] - found[1][name]).max()) for name in found[0])


def time_rows(work: Folder) -> None:
    """Microseconds of one call on images in device memory, to the end of its work: the engines of a network in turns."""
    for network in work.networks():
        rows = (*PRECISIONS, *VARIANTS)
        built = [precision for precision in rows if work.engine(work.row(network, precision)).exists()]
        kept = work.kept(f"time_{network.name}")
        if (kept and kept["precisions"] == built) or len(built) < 2 or not in_time(work, f"time {network.name}"):
            continue
        work.keep(f"time_{network.name}", _time(work, network, built))


def _time(work: Folder, network: Network, built: list[str]) -> dict[str, Any]:
    import torch

    from adaptrt.backends.tensorrt.runtime import TensorRTRunner
    from benchmarks.gpu.timing import in_turns
    from benchmarks.gpu.work import torch_facts

    runners = {precision: TensorRTRunner(work.engine(work.row(network, precision))) for precision in built}
    spec = runners[built[0]].spec
    assert spec is not None
    name, sizes = spec.inputs[0].name, [dim.opt for dim in spec.inputs[0].dims[1:]]
    result: dict[str, Any] = {**torch_facts(), "precisions": built, "input": [*sizes]}
    for batch in BATCHES:
        images = torch.rand(batch, *sizes, device="cuda")

        def side(runner: Any, images: Any = images) -> Callable[[], None]:
            def call() -> None:
                for value in runner({name: images}, outputs="borrowed").values():
                    value.synchronize()

            return call

        times = in_turns({precision: side(runner) for precision, runner in runners.items()}, rounds=9, inner=10)
        result[f"batch {batch}"] = times
        say(f"{network.name} batch {batch}: { {precision: one['p50'] for precision, one in times.items()} }")
    for runner in runners.values():
        runner.close()
    return result


def evaluate(work: Folder) -> None:
    """Scores of trained networks on held-out images: the ONNX file of the row in ONNX Runtime, and the engine."""
    for network, precision in work.rows():
        row = work.row(network, precision)
        kept = f"{'onnx' if work.options.without_engines else 'evaluate'}_{row}"
        if not network.scored or work.kept(kept) or not work.graph(network, precision).exists():
            continue
        if not (work.engine(row).exists() or work.options.without_engines) or not in_time(work, f"evaluate {row}"):
            continue
        files = [work.graph(network, precision), *([] if work.options.without_engines else [work.engine(row)])]
        backends = "onnxruntime" if work.options.without_engines else "onnxruntime,tensorrt"
        words: list[object] = ["evaluate", *files, "--backend", backends, "--batch", 8, "--json"]
        words += ["--data", draw(work, network.images, IMAGES, network.seed)]
        try:
            found = json.loads(adaptrt(work, f"evaluate_{row}", words))
        except SystemExit as error:
            say(f"FAILED evaluate {row}: {str(error)[-600:]}")
            continue
        results = [{key: one[key] for key in ("backend", "file", "scores")} for one in found["results"]]
        for one in results:
            one["file"] = Path(one["file"]).name
        work.keep(kept, {"command": words_of(words), "images": found["images"], "results": results})
        say(f"{row}: { {one['backend']: next(iter(one['scores'].values())) for one in results} }")


def report(work: Folder) -> None:
    """A row for each network and precision, in one file and as a table; rows that are missing are listed."""
    rows = [one for network, precision in work.rows() if (one := row_of(work, network, precision))]
    missing = [
        work.row(network, precision)
        for network, precision in work.rows()
        if not work.engine(work.row(network, precision)).exists() and not work.kept(f"build_{network.name}_{precision}")
    ]
    result = {
        **places(work),
        "rows": rows,
        "again": work.kept("again"),
        "layers by time": work.kept("layers_yolov5m"),
        "failed": {path.stem: json.loads(path.read_text()) for path in (work.folder / "results").glob("failed_*.json")},
        "missing": missing,
    }
    say(f"written: {work.write('gpu_int8', result)}")
    head = ("network", "precision", "level", *(f"batch {batch}" for batch in BATCHES), "of fp16", "score", "verdict")
    table(head, [_line(one) for one in rows])
    say(f"missing: {', '.join(missing) or 'nothing'}")


def row_of(work: Folder, network: Network, precision: str) -> dict[str, Any] | None:
    """Everything known of a row; ``None`` before its engine is built."""
    row = work.row(network, precision)
    built = work.kept(f"build_{row}")
    if built is None:
        return None
    result: dict[str, Any] = {"network": network.name, "precision": precision, "weights": "random", **built}
    if network.scored:
        result["weights"] = "trained"
    times = work.kept(f"time_{network.name}")
    if times and precision in times["precisions"]:
        result["input"] = times["input"]
        result["microseconds"] = {f"batch {batch}": times[f"batch {batch}"][precision] for batch in BATCHES}
        if precision not in {"fp16", "fp32"} and "fp16" in times["precisions"]:
            result |= against_fp16(times, precision)
    scored = work.kept(f"evaluate_{row}")
    if scored:
        result["scores"] = scored["results"]
        result["images"] = scored["images"]
    return result


def against_fp16(times: Mapping[str, Any], row: str) -> dict[str, Any]:
    """The time of an int8 row as a share of that of fp16 at each batch, and what follows from it."""
    shares = {
        f"batch {batch}": round(times[f"batch {batch}"][row]["p50"] / times[f"batch {batch}"]["fp16"]["p50"], 3)
        for batch in BATCHES
    }
    slower = [name for name, share in shares.items() if share >= 1]
    return {"time as a share of fp16": shares, "verdict": f"{_SLOWER} at {', '.join(slower)}" if slower else "faster"}


def _line(row: Mapping[str, Any]) -> tuple[Any, ...]:
    times = row.get("microseconds", {})
    scores = [next(iter(one["scores"].values())) for one in row.get("scores", []) if one["backend"] == "tensorrt"]
    return (
        row["network"],
        row["precision"],
        row["level"],
        *(round(times[f"batch {batch}"]["p50"]) if times else "" for batch in BATCHES),
        " ".join(f"{share:.2f}" for share in row.get("time as a share of fp16", {}).values()),
        f"{100 * scores[0]:.2f}" if scores else "",
        row.get("verdict", ""),
    )


def main() -> None:
    stages: dict[str, Callable[[Folder], None]] = {
        "modelopt": modelopt,
        "prepare": prepare,
        "build": build,
        "again": again,
        "time": time_rows,
        "evaluate": evaluate,
        "report": report,
    }
    parser = stage_parser(__doc__, list(stages), "int8")
    parser.set_defaults(jobs=3, level=1)
    parser.add_argument("--only", default="", help="rows with this in their name")
    parser.add_argument("--seconds", type=float, default=540, help="start no row after this time")
    parser.add_argument("--without-engines", action="store_true", help="evaluate: ONNX files alone, in ONNX Runtime")
    run_stages(stages, Folder(parser.parse_args()))


if __name__ == "__main__":
    main()
