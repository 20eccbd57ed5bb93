"""Ray on several GPUs: images per second with one and more actors, on an engine that is the bottleneck.

::

    python -m benchmarks.batch.ray_gpus write heavy.onnx                       a network of convolutions, milliseconds for each image
    adaptrt build heavy.onnx --no-tf32 -o heavy.engine
    python -m benchmarks.batch.ray_gpus measure heavy.engine --json keep       on a machine with GPUs and Ray

Sides take turns, each in a separate process: ``loop`` (``adaptrt.Predictor`` in one process), Ray Data (``map_batches`` with the same
``Predictor``) and ``adaptrt batch --executor ray``, the last two with 1 and ``--gpus`` actors, a GPU each. Predictors get 16 images at a
time; ``adaptrt batch`` runs each image alone, as always. Images are JPEG files of 240 x 320 pixels; there are as many as make a side take
about ``--seconds``. ``images/s`` is the rate from a fifth of the rows to the last one, so without the start; ``start`` is the time to the
first row. ``share`` is the rate as a share of n times that of one actor. ``model`` is the share of the time of the loop that the model takes,
with its copies to and from the GPU; the rest is reading and preprocessing images, and postprocessing.

Measurements are added to the result after each side; a run that was stopped continues with those that are missing, and starts no other
one after ``--minutes``. With ``--cpu``, actors have a CPU each in place of a GPU: a trial without any.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

from benchmarks.batch.images import write_images, write_model
from benchmarks.common.results import FOLDER, machine, table

ROOT = Path(__file__).parents[2]
NAME = "batch_ray_gpus"
BATCH, SIZE = 16, 640
LOOP, DATA, JOB = "loop", "Ray Data", "adaptrt batch"
LONGEST = 150  # seconds of a side


def write_network(path: Path, layers: int, size: int = SIZE) -> None:
    """``layers`` convolutions of 64 channels at half of the input size, [B, 3, size, size] to [B, 3]; all of them have the same weights."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    rng, width = np.random.default_rng(0), 64
    scale = (2 / (width * 9)) ** 0.5  # keeps the size of the activations, with ReLU
    weights = {
        "stem": rng.normal(0, 0.2, (width, 3, 3, 3)),
        "kernel": rng.normal(0, scale, (width, width, 3, 3)),
        "matrix": rng.normal(0, 0.1, (width, 3)),
    }
    same = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [helper.make_node("Conv", ["images", "stem"], ["x0"], strides=[2, 2], **same)]
    for layer in range(layers):
        nodes.append(helper.make_node("Conv", [f"x{layer}", "kernel"], [f"c{layer}"], **same))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"x{layer + 1}"]))
    nodes.append(helper.make_node("GlobalAveragePool", [f"x{layers}"], ["mean"]))
    nodes.append(helper.make_node("Flatten", ["mean"], ["flat"]))
    nodes.append(helper.make_node("MatMul", ["flat", "matrix"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "heavy",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()],
    )
    write_model(graph, path, f"1:{BATCH}:{BATCH}", size)


def measure(side: str, actors: int, model: Path, images: Path, *, cpu: bool) -> dict[str, float]:
    """In a separate process: seconds to the first row, images per second after a fifth of them, and the model's share in the loop."""
    paths = [str(path) for path in sorted(images.iterdir())]
    started, rows = time.perf_counter(), list[tuple[float, int]]()

    def count(new: int) -> None:
        rows.append((time.perf_counter(), new))

    found = {LOOP: loop, DATA: ray_data, JOB: batch_job}[side](actors, model, paths, count, cpu)
    begun = next(index for index, total in enumerate(accumulate(new for _, new in rows)) if total >= len(paths) // 5)
    later = sum(new for _, new in rows[begun + 1 :])
    if not later:
        raise SystemExit(f"{side}, {actors}: all rows arrived at once; use more --seconds.")
    return {
        **found,
        "images": len(paths),
        "start": rows[0][0] - started,
        "rate": later / (rows[-1][0] - rows[begun][0]),
    }


def loop(_: int, model: Path, paths: list[str], count: Callable[[int], None], cpu: bool) -> dict[str, float]:  # noqa: ARG001
    from adaptrt import Predictor

    batches = [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
    with Predictor(model, batch=BATCH, threads=1, allow_host_code=True) as predictor:
        for batch in batches:
            require_no_errors(predictor({"path": batch}))
            count(len(batch))
        inside = total = 0.0
        for batch in batches[:10]:
            begun = time.perf_counter()
            _, timing = predictor.model.timed(batch)
            total += time.perf_counter() - begun
            inside += timing.run
    return {"model": inside / total}


def ray_data(actors: int, model: Path, paths: list[str], count: Callable[[int], None], cpu: bool) -> dict[str, float]:
    from adaptrt import Predictor
    from adaptrt_ray.cluster import connected, import_ray

    ray = import_ray()
    with connected(ray, "local", actors):
        blocks = -(-len(paths) // BATCH)
        files = ray.data.from_items([{"path": path} for path in paths], override_num_blocks=blocks)
        found = files.map_batches(
            Predictor,
            fn_constructor_args=(str(model.absolute()),),
            fn_constructor_kwargs={"batch": BATCH, "threads": 1, "allow_host_code": True},
            compute=ray.data.ActorPoolStrategy(size=actors),
            batch_size=BATCH,
            **({"num_cpus": 1} if cpu else {"num_gpus": 1}),
        )
        for batch in found.iter_batches(batch_size=None, batch_format="numpy"):
            require_no_errors(batch)
            count(len(batch["path"]))
    return {}


def require_no_errors(batch: Any) -> None:
    errors = [error for error in batch["error"] if error]
    if errors:
        raise SystemExit(errors[0])


def batch_job(actors: int, model: Path, paths: list[str], count: Callable[[int], None], cpu: bool) -> dict[str, float]:
    from adaptrt.batch.run import BatchRequest, run_batch
    from adaptrt.specs.executors import EXECUTORS, ExecutorOptions
    from adaptrt_ray import RayOptions

    own = RayOptions(actors=actors) if cpu else RayOptions(gpus=actors)
    with tempfile.TemporaryDirectory() as folder:
        summary = run_batch(
            BatchRequest(
                model=model,
                sources=[Path(path) for path in paths],
                output=Path(folder),
                executor=EXECUTORS.find("ray"),
                options=ExecutorOptions(threads=1, own=own, allow_host_code=True),
                progress=lambda _: count(1),
            )
        )
    if summary.failed:
        raise SystemExit(f"{summary.failed} images have an error.")
    return {}


def summary(kept: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Medians over the rounds, by side and number of actors."""
    rows: dict[str, dict[str, float]] = {}
    for name, found in kept["sides"].items():
        if not found:  # it failed, or its time was over
            continue
        side, _, actors = name.partition(", ")
        rows[name] = {"images/s": statistics.median(one["rate"] for one in found)}
        rows[name]["start, s"] = statistics.median(one["start"] for one in found)
        one = rows.get(f"{side}, 1")
        if actors not in ("", "1") and one:
            rows[name]["share"] = rows[name]["images/s"] / (int(actors) * one["images/s"])
        if side == LOOP:
            rows[name]["model"] = statistics.median(one["model"] for one in found)
    return rows


def run_sides(options: argparse.Namespace, where: Path) -> dict[str, Any]:
    until = time.monotonic() + 60 * options.minutes
    packages = [*(() if options.cpu else ("cuda-bindings",)), "adaptrt", "numpy", "ray"]
    kept: dict[str, Any] = json.loads(where.read_text()) if where.exists() else {"sides": {}}
    kept |= {"machine": machine(*packages), "gpus": gpus(), "engine": options.file.name, "note": options.note}
    sides = [(LOOP, 1), *((side, actors) for side in (DATA, JOB) for actors in (1, options.gpus))]
    with tempfile.TemporaryDirectory() as text:
        for number in range(options.rounds):
            for side, actors in sides:
                name = side if side == LOOP else f"{side}, {actors}"
                found = kept["sides"].setdefault(name, [])
                if len(found) > number or time.monotonic() > until:
                    continue
                rate = kept["sides"][LOOP][0]["rate"] if kept["sides"][LOOP] else 25 * BATCH / options.seconds
                count = max(BATCH * 10, int(rate * actors * options.seconds))
                folder = Path(text) / str(count)
                write_images(folder, count)
                command = [sys.executable, "-m", "benchmarks.batch.ray_gpus", "side", side, str(actors), str(options.file), str(folder)]  # fmt: skip
                words = [*command, *(["--cpu"] if options.cpu else [])]
                try:
                    done = subprocess.run(words, cwd=ROOT, check=False, capture_output=True, text=True, timeout=LONGEST)
                except subprocess.TimeoutExpired:
                    print(f"{name} was ended after {LONGEST} s", flush=True)
                    continue
                if done.returncode:
                    print(f"{name} failed:\n{done.stderr[-3000:]}", flush=True)
                    continue
                found.append(json.loads(done.stdout.splitlines()[-1]))
                where.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
                print(name, found[-1], flush=True)
    return kept


def gpus() -> list[str]:
    """Names of the GPUs of this machine, with the version of their driver."""
    try:
        listed = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"], check=True, capture_output=True, text=True)  # fmt: skip
    except (FileNotFoundError, subprocess.CalledProcessError):
        return []
    return listed.stdout.splitlines()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    write = commands.add_parser("write")
    write.add_argument("file", type=Path)
    write.add_argument("--layers", type=int, default=100, metavar="N")
    write.add_argument("--size", type=int, default=SIZE, metavar="N", help="of the input, pixels")
    run = commands.add_parser("measure")
    run.add_argument("file", type=Path)
    run.add_argument("--gpus", type=int, default=2, metavar="N")
    run.add_argument("--seconds", type=float, default=12.0, metavar="N", help="about how long a side runs")
    run.add_argument("--rounds", type=int, default=2, metavar="N")
    run.add_argument("--minutes", type=float, default=9.0, metavar="N")
    run.add_argument("--note", default="", metavar="TEXT", help="kept in the result: how the engine was built")
    run.add_argument("--cpu", action="store_true")
    run.add_argument("--json", metavar="FILE", default="keep", help="the result; 'keep': in benchmarks/results")
    side = commands.add_parser("side")
    side.add_argument("side")
    side.add_argument("actors", type=int)
    side.add_argument("file", type=Path)
    side.add_argument("folder", type=Path)
    side.add_argument("--cpu", action="store_true")
    options = parser.parse_args()
    if options.command == "write":
        write_network(options.file, options.layers, options.size)
    elif options.command == "side":
        print(json.dumps(measure(options.side, options.actors, options.file, options.folder, cpu=options.cpu)))
    else:
        options.file = options.file.absolute()
        where = FOLDER / f"{NAME}.json" if options.json == "keep" else Path(options.json)
        kept = run_sides(options, where)
        keys = ("images/s", "start, s", "share", "model")
        rows = summary(kept)
        table(["side, actors", *keys], [[name, *(row.get(key, "") for key in keys)] for name, row in rows.items()])


if __name__ == "__main__":
    main()
