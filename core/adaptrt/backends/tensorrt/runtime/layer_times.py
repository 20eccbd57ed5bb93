"""The time of each layer of an engine, as TensorRT's profiler measures it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaptrt.backends.tensorrt.runtime.arrays import InputView
    from adaptrt.backends.tensorrt.runtime.contexts import ShapePlan
    from adaptrt.backends.tensorrt.runtime.lanes import Lane


def layer_times(lane: Lane, plan: ShapePlan, inputs: tuple[InputView, ...], runs: int) -> dict[str, float]:
    """Mean seconds of each layer over ``runs``, in the order of execution. The runs are enqueued, not replayed as a graph."""
    times: dict[str, float] = {}
    before, plan.no_graph = plan.no_graph, "the layers are timed"
    try:
        lane.run_host(plan, inputs)  # TensorRT's setup on the first run
        lane.bound_context(plan.profile).context.profiler = _profiler(lane.engine.tensorrt.trt, times)
        for _ in range(runs):
            lane.run_host(plan, inputs)
    finally:
        lane.drop_context(plan.profile)  # later calls use one that is not profiled
        plan.no_graph = before
    return {name: seconds / runs for name, seconds in times.items()}


def _profiler(trt: Any, times: dict[str, float]) -> Any:
    class Profiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            times[layer_name] = times.get(layer_name, 0.0) + ms / 1000

    return Profiler()
