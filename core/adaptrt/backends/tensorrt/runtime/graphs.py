"""CUDA graphs of an engine: captured for fixed shapes and addresses, replayed in one call."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from adaptrt.backends.tensorrt.runtime.contexts import BoundContext, ShapePlan
from adaptrt.backends.tensorrt.runtime.cuda import Cuda
from adaptrt.errors import EngineError

Key = tuple[ShapePlan, tuple[int, ...]]
# a capture costs about a thousand times what a separate graph saves per call where inputs are copied (benchmarks/gpu/many_engines.py)
_FEW_HITS, _MOST_PATIENCE, _REMEMBERED = 1000, 4096, 128


class CaptureError(EngineError):
    """Parts of the engine cannot be captured; it runs without a graph."""


class Graph:
    """A captured run of a context, which it owns; addresses and shapes are fixed in the graph."""

    def __init__(
        self, cuda: Cuda, context: BoundContext, stream: int, work: Callable[[BoundContext, int], None] | None = None
    ) -> None:
        """``work`` is what is captured, by default the context alone."""
        api = cuda.api
        self._cuda = cuda
        self._context = context
        self.hits = self._launchable = 0
        # relaxed: another thread, or the garbage collector in this one, may allocate and free meanwhile
        cuda.check(
            api.cudaStreamBeginCapture(stream, api.cudaStreamCaptureMode.cudaStreamCaptureModeRelaxed), "capture"
        )
        problem: EngineError | None = None
        try:
            if work is None:
                context.enqueue(stream)
            else:
                work(context, stream)
        except EngineError as error:
            problem = error
        finally:  # also after Ctrl-C: the stream would take no other work
            code, graph = api.cudaStreamEndCapture(stream)
        if problem is not None or code != api.cudaError_t.cudaSuccess:
            api.cudaGetLastError()
            raise CaptureError(str(problem.message if problem else cuda.error(code, "capture the engine").message))
        self._launchable = int(cuda.check(api.cudaGraphInstantiate(graph, 0), "instantiate a graph")[0])
        cuda.check(api.cudaGraphDestroy(graph), "destroy a graph")

    def launch(self, stream: int) -> None:
        self.hits += 1
        self._cuda.launch(self._launchable, stream)

    def close(self) -> None:
        """Destroy the graph; it must not be running."""
        self._destroy()
        self._context.close()

    def _destroy(self) -> None:
        launchable, self._launchable = self._launchable, 0
        if launchable:
            self._cuda.freed(self._cuda.api.cudaGraphExecDestroy, launchable, doing="destroy a graph")

    def __del__(self) -> None:
        self._destroy()


class GraphCache:
    """An LRU cache of graphs that decides when another capture is worthwhile.

    Addresses seen ``patience`` times get a separate graph. Graphs evicted before they paid for their capture increase the
    patience: a caller whose input addresses always change runs without graphs. Where copying the inputs is the alternative,
    and there are more addresses than graphs, one gets a graph when its copies have cost as much, and only while there is room.
    """

    def __init__(self, limit: int, idle: Callable[[], None]) -> None:
        self.limit = limit
        self.patience = 2
        self._idle = idle
        self._graphs: OrderedDict[Key, Graph] = OrderedDict()
        self._seen: OrderedDict[Key, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._graphs)

    def find(self, key: Key) -> Graph | None:
        graph = self._graphs.get(key)
        if graph is not None:
            self._graphs.move_to_end(key)
        return graph

    def due(self, key: Key, *, copied: bool = False) -> bool:
        """Count a call without a graph, or with inputs ``copied`` for another one; returns whether to capture one now."""
        seen = self._seen.pop(key, 0) + 1
        self._seen[key] = seen
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        if copied and len(self._seen) + len(self._graphs) > self.limit:
            return len(self._graphs) < self.limit and seen >= _FEW_HITS
        return self.limit > 0 and seen >= self.patience

    def keep(self, key: Key, graph: Graph) -> None:
        while len(self._graphs) >= self.limit:
            _, oldest = self._graphs.popitem(last=False)
            if oldest.hits < _FEW_HITS:
                self.patience = min(2 * self.patience, _MOST_PATIENCE)
            self._idle()
            oldest.close()
        self._graphs[key] = graph
        self._seen.pop(key, None)

    def forget(self, kind: int) -> None:
        """Destroy those whose addresses begin with ``kind``: the memory that they read is gone."""
        for key in [key for key in self._graphs if key[1][:1] == (kind,)]:
            self._graphs.pop(key).close()

    def clear(self) -> None:
        """Destroy all graphs; the caller ensures that none is running."""
        while self._graphs:
            self._graphs.popitem()[1].close()


def fastest(runs: dict[str, Callable[[], None]], clock: Callable[[], float], repeats: int = 3) -> Any:
    """The name of the run with the smallest best time. Runs alternate; each ends with the device idle."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(repeats):
        for name, run in runs.items():
            started = clock()
            run()
            best[name] = min(best[name], clock() - started)
    return min(best, key=lambda name: best[name])
