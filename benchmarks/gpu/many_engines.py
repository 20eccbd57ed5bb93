"""Two open ends of the runtime: graphs are slower when many engines live in one process, and an input that moves costs a copy.

::

    python -m benchmarks.gpu.many_engines --file best.engine [--most 16] [--json keep]

Part one opens the same engine again and again and times the first one alone, its graph on a device array. To tell causes apart, it is timed
beside engines that are open and were never called, beside those that have a graph, beside those that were called in between (which
evicts what the GPU and the driver cache), and beside as many idle streams and captured graphs without an engine.

Part two times a call on a device array at one address, and at another address each time: copied into the graph's input, or
enqueued, whichever the runtime measured to be faster; and an enqueue without graphs. ``benchmarks/results/gpu_many_engines.json`` has it
of a later run, ``moving``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.results import arguments, finish, machine, table
from benchmarks.gpu.timing import Memory, in_turns, ok

ROUNDS, INNER, MOVING = 5, 100, 24
_Kept = list[Any]


def given(runner: Any, cudart: Any) -> tuple[str, Memory]:
    tensor = runner.inputs[0]
    spec = runner.spec
    shape = tuple(size or 1 for size in tensor.shape) if spec is None else spec_shape(spec)
    return tensor.name, Memory(cudart, np.random.default_rng(0).random(shape).astype(tensor.dtype))


def spec_shape(spec: Any) -> tuple[int, ...]:
    """One image."""
    first, *others = spec.inputs[0].profiles[0]
    return (first.min, *(axis.opt for axis in others))


def call_of(runner: Any, name: str, memory: Memory) -> Callable[[], None]:
    def call() -> None:
        next(iter(runner({name: memory}, outputs="borrowed").values())).synchronize()

    return call


def empty_graphs(cudart: Any, count: int, memory: Memory) -> _Kept:
    """Streams, each with a captured copy."""
    kept = []
    for _ in range(count):
        stream = ok(cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking))
        target = int(ok(cudart.cudaMalloc(memory.values.nbytes)))
        ok(cudart.cudaStreamBeginCapture(stream, cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal))
        kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        ok(cudart.cudaMemcpyAsync(target, memory.pointer, memory.values.nbytes, kind, stream))
        graph = ok(cudart.cudaGraphInstantiate(ok(cudart.cudaStreamEndCapture(stream)), 0))
        ok(cudart.cudaGraphLaunch(graph, stream))
        ok(cudart.cudaStreamSynchronize(stream))
        kept.append((stream, target, graph))
    return kept


def beside(path: Path, most: int) -> list[dict[str, Any]]:
    from adaptrt.backends.tensorrt.device import import_cudart
    from adaptrt.backends.tensorrt.runtime import TensorRTRunner

    cudart, rows = import_cudart(), []

    def measured(what: str, count: int, call: Callable[[], None]) -> None:
        found = in_turns({"first": call}, ROUNDS, INNER)["first"]
        rows.append({"beside": what, "engines": count, **found})
        print(rows[-1], flush=True)

    with TensorRTRunner(path, allow_host_code=True) as first:
        name, memory = given(first, cudart)
        call = call_of(first, name, memory)
        measured("nothing", 0, call)
        kept = empty_graphs(cudart, most, memory)
        measured("idle streams and graphs without an engine", most, call)
        others: _Kept = []
        for count in [2**power for power in range(most.bit_length()) if 2**power <= most]:
            while len(others) < count:
                others.append(TensorRTRunner(path, allow_host_code=True))
            measured("engines that were never called", count, call)
            calls = [call_of(other, name, memory) for other in others]
            for _ in range(3):
                for other in calls:
                    other()
            measured("engines with a graph", count, call)

            def in_between() -> None:
                for other in calls:  # noqa: B023
                    other()

            alternating = in_turns({"first": call, "others": in_between}, ROUNDS, 1 if count > 4 else 10)["first"]
            rows.append({"beside": "engines called in between", "engines": count, **alternating})
            print(rows[-1], flush=True)
        for other in others:
            other.close()
        measured("nothing again", 0, call)
        del kept
    return rows


def moving(path: Path) -> dict[str, Any]:
    from adaptrt.backends.tensorrt.device import import_cudart
    from adaptrt.backends.tensorrt.runtime import TensorRTRunner

    cudart = import_cudart()
    with (
        TensorRTRunner(path, allow_host_code=True) as runner,
        TensorRTRunner(path, allow_host_code=True, cuda_graphs=0) as plain,
    ):
        name, memory = given(runner, cudart)
        others = [Memory(cudart, memory.values) for _ in range(MOVING)]
        turn = iter(range(1 << 30))
        calls = [call_of(runner, name, one) for one in others]
        found: dict[str, Any] = in_turns(
            {
                "one address": call_of(runner, name, memory),
                "another address each time": lambda: calls[next(turn) % MOVING](),
                "without graphs": call_of(plain, name, memory),
            },
            ROUNDS,
            INNER,
        )
        plan = next(iter(runner._plans.values()))
        found["way"] = "copied and replayed" if plan.copies else "enqueued"
        found["bytes"] = memory.values.nbytes
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--most", type=int, default=16)
    options = parser.parse_args()
    rows, inputs = beside(options.file, options.most), moving(options.file)
    base = rows[0]["p50"]
    table(
        ["first engine, beside", "count", "p50, us", "p99, us", "slower by, us"],
        [[row["beside"], row["engines"], row["p50"], row["p99"], row["p50"] - base] for row in rows],
    )
    print(inputs)
    finish(
        "many_engines", options.json, {**machine("numpy"), "file": options.file.name, "beside": rows, "inputs": inputs}
    )


if __name__ == "__main__":
    main()
