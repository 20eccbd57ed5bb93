"""Latency of an engine: an adaptrt call compared with a bare loop over the same engine, and with torch.

Stages of yolo/gpu.py. Both sides are measured alternately, so that other load on the machine affects both. Times are in
microseconds on the host's clock, from the call to the end of the work on the GPU.
"""

from __future__ import annotations

import ctypes
import time
from typing import Any

import numpy as np

from benchmarks.gpu.timing import Memory, in_turns, ok, percentiles
from benchmarks.gpu.work import Call, compiled, finished, torch_facts
from benchmarks.yolo.work import Work, eager_network

BATCHES = (1, 8, 32)
ENGINE = "new_batch_fp16_fast"


class BareLoop:
    """The least that runs an engine with cuda-python: fixed addresses, one stream, no checks."""

    def __init__(self, cudart: Any, runner: Any, memory: Memory) -> None:
        self.cudart, self.memory = cudart, memory
        engine = runner._engine
        self.stream = ok(cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking))
        scratch = int(ok(cudart.cudaMalloc(engine.scratch_bytes)))
        self.context = engine.new_context(0, int(self.stream), scratch)
        shape = memory.values.shape
        assert self.context.set_input_shape("images", shape)
        self.shape = tuple(self.context.get_tensor_shape("output0"))
        self.bytes = int(np.prod(self.shape)) * 4
        self.output = int(ok(cudart.cudaMalloc(self.bytes)))
        assert self.context.set_tensor_address("images", memory.pointer)
        assert self.context.set_tensor_address("output0", self.output)
        self.pinned_in = int(ok(cudart.cudaHostAlloc(memory.values.nbytes, 0)))
        self.pinned_out = int(ok(cudart.cudaHostAlloc(self.bytes, 0)))
        self.enqueue()
        ok(cudart.cudaStreamBeginCapture(self.stream, cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal))
        assert self.context.execute_async_v3(int(self.stream))
        self.executable = ok(cudart.cudaGraphInstantiate(ok(cudart.cudaStreamEndCapture(self.stream)), 0))

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
    ok(cudart.cudaMemcpy(raw.ctypes.data, bare.output, bare.bytes, cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost))
    return bool(np.array_equal(runner({"images": memory})["output0"].numpy(), raw))


def latency_torch(work: Work) -> None:
    """Our call on torch's tensors, in turns with torch eager in half precision."""
    import torch

    from adaptrt.backends.tensorrt.runtime import TensorRTRunner

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
