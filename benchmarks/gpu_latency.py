"""How long an engine takes: our call next to a bare loop over the same engine, and next to torch.

Stages of gpu_yolov5.py. Each side runs in turns with the other, so that what slows the machine slows both; times are in
microseconds, from the call to the end of the work on the GPU, on the host's clock.
"""

from __future__ import annotations

import ctypes
import time
from typing import Any, TypeVar

import numpy as np

from gpu_work import Call, Work, compiled, finished, torch_facts

K = TypeVar("K")
BATCHES = (1, 8, 32)
ROUNDS, INNER = 15, 20
ENGINE = "new_batch_fp16_fast"


def percentiles(times: list[float]) -> dict[str, float]:
    p50, p90, p99 = (round(float(value) * 1e6, 2) for value in np.percentile(times, (50, 90, 99)))
    return {"p50": p50, "p90": p90, "p99": p99, "runs": len(times)}


def in_turns(sides: dict[K, Call], rounds: int = ROUNDS, inner: int = INNER) -> dict[K, dict[str, float]]:
    """Microseconds of each; every call ends with the GPU idle."""
    times: dict[K, list[float]] = {name: [] for name in sides}
    for call in sides.values():
        for _ in range(10):
            call()
    for round_ in range(rounds):
        for name in sides if round_ % 2 else reversed(sides):
            call = sides[name]
            for _ in range(inner):
                started = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - started)
    return {name: percentiles(one) for name, one in times.items()}


class Memory:
    """A device array as another library would give it."""

    def __init__(self, cudart: Any, values: np.ndarray) -> None:
        self.values = values
        self.pointer = int(_ok(cudart.cudaMalloc(values.nbytes)))
        kind = cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        _ok(cudart.cudaMemcpy(self.pointer, values.ctypes.data, values.nbytes, kind))
        self.__cuda_array_interface__ = {
            "shape": values.shape,
            "typestr": values.dtype.str,
            "data": (self.pointer, False),
            "strides": None,
            "stream": None,
            "version": 3,
        }


class BareLoop:
    """The least that runs an engine with cuda-python: fixed addresses, one stream, no checks."""

    def __init__(self, cudart: Any, runner: Any, memory: Memory) -> None:
        self.cudart, self.memory = cudart, memory
        engine = runner._engine
        self.stream = _ok(cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking))
        scratch = int(_ok(cudart.cudaMalloc(engine.scratch_bytes)))
        self.context = engine.new_context(0, int(self.stream), scratch)
        shape = memory.values.shape
        assert self.context.set_input_shape("images", shape)
        self.shape = tuple(self.context.get_tensor_shape("output0"))
        self.bytes = int(np.prod(self.shape)) * 4
        self.output = int(_ok(cudart.cudaMalloc(self.bytes)))
        assert self.context.set_tensor_address("images", memory.pointer)
        assert self.context.set_tensor_address("output0", self.output)
        self.pinned_in = int(_ok(cudart.cudaHostAlloc(memory.values.nbytes, 0)))
        self.pinned_out = int(_ok(cudart.cudaHostAlloc(self.bytes, 0)))
        self.enqueue()
        _ok(cudart.cudaStreamBeginCapture(self.stream, cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal))
        assert self.context.execute_async_v3(int(self.stream))
        self.executable = _ok(cudart.cudaGraphInstantiate(_ok(cudart.cudaStreamEndCapture(self.stream)), 0))

    def enqueue(self) -> None:
        self.context.execute_async_v3(int(self.stream))
        self.cudart.cudaStreamSynchronize(self.stream)

    def graph(self) -> None:
        self.cudart.cudaGraphLaunch(self.executable, self.stream)
        self.cudart.cudaStreamSynchronize(self.stream)

    def graph_from_host(self) -> None:
        """Copy in, run, copy out, all pinned; the caller's array is copied into pinned memory first."""
        cudart, kinds = self.cudart, self.cudart.cudaMemcpyKind
        values = self.memory.values
        ctypes.memmove(self.pinned_in, values.ctypes.data, values.nbytes)
        cudart.cudaMemcpyAsync(
            self.memory.pointer, self.pinned_in, values.nbytes, kinds.cudaMemcpyHostToDevice, self.stream
        )
        cudart.cudaGraphLaunch(self.executable, self.stream)
        cudart.cudaMemcpyAsync(self.pinned_out, self.output, self.bytes, kinds.cudaMemcpyDeviceToHost, self.stream)
        cudart.cudaStreamSynchronize(self.stream)


def latency(work: Work) -> None:
    """Ours and the bare loop over one engine, without torch: device arrays and numpy arrays."""
    from adaptrt.backends.tensorrt.device import describe_device, import_cudart
    from adaptrt.backends.tensorrt.runtime import TensorRTRunner

    cudart = import_cudart()
    result: dict[str, Any] = {}
    path = work.engine(ENGINE)
    with (
        TensorRTRunner(path, allow_host_code=True) as runner,
        TensorRTRunner(path, allow_host_code=True, cuda_graphs=0) as plain,
    ):
        result["backend"], device = runner.backend, describe_device(0)
        result["gpu"], result["driver"], result["cuda"] = device.name, device.driver, device.cuda
        for batch in BATCHES:
            images = np.random.default_rng(batch).random((batch, 3, 640, 640), dtype=np.float32)
            memory = Memory(cudart, images)
            others = [Memory(cudart, images) for _ in range(24)]
            bare = BareLoop(cudart, runner, memory)
            turn = iter(range(1 << 30))

            def ours(which: Any, outputs: str, given: Memory) -> None:
                which({"images": given}, outputs=outputs)["output0"].synchronize()

            one: dict[str, Any] = in_turns(
                {
                    "bare enqueue": bare.enqueue,
                    "ours enqueue, borrowed": lambda: ours(plain, "borrowed", memory),  # noqa: B023
                    "ours enqueue, owned": lambda: ours(plain, "owned", memory),  # noqa: B023
                }
            )
            one |= in_turns(
                {
                    "bare graph": bare.graph,
                    "ours graph, borrowed": lambda: ours(runner, "borrowed", memory),  # noqa: B023
                    "ours graph, owned": lambda: ours(runner, "owned", memory),  # noqa: B023
                }
            )
            one |= in_turns(
                {"ours, inputs that move, borrowed": lambda: ours(runner, "borrowed", others[next(turn) % 24])}  # noqa: B023
            )
            one |= in_turns(
                {
                    "bare graph, numpy": bare.graph_from_host,
                    "ours, numpy": lambda: runner.run({"images": images}),  # noqa: B023
                },
                inner=8,
            )
            one["host time of our call"] = _host_time(runner, memory, cudart)
            plan = next(plan for plan in runner._plans.values() if plan.shapes[0][0] == batch)
            one["inputs that move"] = "copied and replayed" if plan.copies else "enqueued"
            one["ratio enqueue"] = one["ours enqueue, borrowed"]["p50"] / one["bare enqueue"]["p50"]
            one["ratio graph"] = one["ours graph, borrowed"]["p50"] / one["bare graph"]["p50"]
            one["overhead graph us"] = one["ours graph, borrowed"]["p50"] - one["bare graph"]["p50"]
            one["overhead enqueue us"] = one["ours enqueue, borrowed"]["p50"] - one["bare enqueue"]["p50"]
            one["same output"] = _same_output(cudart, runner, memory, bare)
            result[f"batch {batch}"] = one
            _show(batch, one)
            work.keep("latency", result)


def _host_time(runner: Any, memory: Memory, cudart: Any) -> dict[str, float]:
    """Microseconds until our call returns, the GPU idle before."""
    times = []
    for _ in range(200):
        cudart.cudaDeviceSynchronize()
        started = time.perf_counter()
        kept = runner({"images": memory}, outputs="borrowed")
        times.append(time.perf_counter() - started)
        del kept
    return percentiles(times)


def _same_output(cudart: Any, runner: Any, memory: Memory, bare: BareLoop) -> bool:
    """Ours and the bare loop give the same numbers: both measured the same work."""
    bare.graph()
    raw = np.empty(bare.shape, np.float32)
    _ok(cudart.cudaMemcpy(raw.ctypes.data, bare.output, bare.bytes, cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost))
    return bool(np.array_equal(runner({"images": memory})["output0"].numpy(), raw))


def latency_torch(work: Work) -> None:
    """Our call on torch's tensors, in turns with torch eager in half precision."""
    import torch

    from adaptrt.backends.tensorrt.runtime import TensorRTRunner
    from gpu_yolov5 import eager_network

    result = torch_facts()
    network = eager_network(work, "new").half()
    with TensorRTRunner(work.engine(ENGINE), allow_host_code=True) as runner, torch.inference_mode():
        result["backend"] = runner.backend
        for batch in BATCHES:
            x = torch.rand(batch, 3, 640, 640, device="cuda")
            half = x.half()
            one: dict[str, Any] = in_turns(
                {
                    name: finished(call)
                    for name, call in {
                        "torch eager fp16": lambda: network(half),  # noqa: B023
                        "torch eager fp16, channels last": _channels_last(torch, network, half),
                        "ours, borrowed": lambda: torch.from_dlpack(
                            runner({"images": x}, outputs="borrowed")["output0"]  # noqa: B023
                        ),
                        "ours, owned": lambda: torch.from_dlpack(runner({"images": x})["output0"]),  # noqa: B023
                        "ours, owned, stream given": lambda: torch.from_dlpack(
                            runner({"images": x}, stream=torch.cuda.current_stream())["output0"]  # noqa: B023
                        ),
                    }.items()
                }
            )
            ours = one["ours, borrowed"]["p50"]
            one["times eager fp16"] = one["torch eager fp16"]["p50"] / ours
            one["times eager fp16, channels last"] = one["torch eager fp16, channels last"]["p50"] / ours
            _show(batch, one)
            result[f"batch {batch}"] = one
            work.keep("latency_torch", result)


def latency_compiled(work: Work) -> None:
    """torch eager and torch.compile in half precision, without us: compiling takes minutes."""
    import torch

    from gpu_yolov5 import eager_network

    result = torch_facts()
    network = eager_network(work, "new").half()
    with torch.inference_mode():
        for batch in BATCHES:
            half = torch.rand(batch, 3, 640, 640, device="cuda").half()
            one: dict[str, Any] = {}
            sides = {"torch eager fp16": lambda: network(half)}  # noqa: B023
            sides |= compiled(network, half, work.options.compile, one)
            one |= in_turns({name: finished(call) for name, call in sides.items()})
            _show(batch, one)
            result[f"batch {batch}"] = one
            work.keep("latency_compiled", result)


def _show(batch: int, one: dict[str, Any]) -> None:
    for name, value in one.items():
        print(batch, name, value, flush=True)


def _channels_last(torch: Any, network: Any, half: Any) -> Call:
    import copy

    other = copy.deepcopy(network).to(memory_format=torch.channels_last)
    given = half.contiguous(memory_format=torch.channels_last)
    return lambda: other(given)


def _ok(answer: tuple[Any, ...]) -> Any:
    assert int(answer[0]) == 0, answer[0]
    return answer[1] if len(answer) > 1 else None
