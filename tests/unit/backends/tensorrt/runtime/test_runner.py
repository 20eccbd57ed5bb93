"""Running an engine: right numbers for numpy and device inputs, ownership, names, errors, leaks."""

from __future__ import annotations

import gc
import threading
import weakref

import fake_gpu
import numpy as np
import pytest
from patience import HANG

from adaptrt.errors import DependencyError, EngineError, ModelError, ShapeError, UsageError


def test_numpy_in_numpy_out(bench, images):
    runner = bench.open()
    for batch, size in ((1, 4), (8, 16), (3, 8)):
        x = images(batch, size)
        outputs = runner.run({"images": x})
        assert list(outputs) == ["output0", "sums"]
        np.testing.assert_array_equal(outputs["output0"], 2 * x + 1)
        np.testing.assert_allclose(outputs["sums"], x.sum((1, 2, 3)), rtol=1e-6)


def test_outputs_of_run_belong_to_the_caller(bench, images):
    runner = bench.open()
    first = runner.run({"images": images(seed=1)})["output0"]
    before = first.copy()
    for seed in range(2, 8):
        runner.run({"images": images(seed=seed)})
    np.testing.assert_array_equal(first, before)
    assert first.flags.writeable


def test_layers_are_timed_and_later_calls_are_not(bench, images):
    """Times in milliseconds from TensorRT become seconds of one run, and graphs are captured again afterwards."""
    runner, x = bench.open(contexts=1), {"images": images()}
    for _ in range(3):
        runner.run(x)
    assert runner.layer_times(x, 4) == pytest.approx({"layer of output0": 0.0005, "layer of sums": 0.001})
    for seed in range(3):
        x = images(seed=seed)
        np.testing.assert_array_equal(runner.run({"images": x})["output0"], 2 * x + 1)
    assert runner.layer_times({"images": images(1, 4)}, 1).keys() == {"layer of output0", "layer of sums"}


def test_a_transposed_numpy_array_is_taken(bench, images):
    x = images().transpose(0, 1, 3, 2)
    np.testing.assert_array_equal(bench.open().run({"images": x})["output0"], 2 * x + 1)


def test_page_locked_memory_that_cannot_be_had_does_not_count(bench, monkeypatch):
    runner = bench.open()
    before = runner._pinned._lent
    monkeypatch.setattr(runner._cuda.api, "cudaHostAlloc", lambda *_: (fake_gpu.Code.cudaErrorMemoryAllocation, 0))
    for _ in range(3):
        with pytest.raises(EngineError, match="out of memory"):
            runner._pinned.allocate(1 << 25)
    assert runner._pinned._lent == before


def test_the_garbage_collector_may_free_outputs_at_any_time(bench):
    """Also in a thread that is about to free others."""
    runner = bench.open()
    pool = runner._device_pool
    block = pool.allocate(8, pool.stream.handle, "an output")
    block.readers |= {pool.stream.handle, runner._pinned.stream.handle}
    cycle = [block]
    cycle.append(cycle)
    del block, cycle

    def free():
        with pool._lock:
            gc.collect()

    thread = threading.Thread(target=free, daemon=True)
    thread.start()
    thread.join(HANG)
    assert not thread.is_alive()
    assert len(pool._outgrown) == 1


def test_an_input_in_page_locked_memory_is_not_copied_on_the_host(bench, images, monkeypatch):
    runner = bench.open()
    x = images(2, 8)
    mine = runner.input_array(x.shape, x.dtype)
    mine[:] = x
    runner.run({"images": x})
    allocated = []
    monkeypatch.setattr(
        type(runner._pinned), "allocate", _noting(type(runner._pinned).allocate, allocated), raising=True
    )
    np.testing.assert_array_equal(runner.run({"images": mine})["output0"], 2 * x + 1)
    inside = len(allocated)
    np.testing.assert_array_equal(runner.run({"images": x})["output0"], 2 * x + 1)
    assert len(allocated) == 2 * inside + 1  # one block more: for the copy
    np.testing.assert_array_equal(runner.run({"images": mine[:1]})["output0"], 2 * x[:1] + 1)
    flipped = mine.transpose(0, 1, 3, 2)  # starts at the same address
    np.testing.assert_array_equal(runner.run({"images": flipped})["output0"], 2 * flipped + 1)
    del mine, flipped
    gc.collect()
    assert not runner._pinned._inputs


def _noting(function, calls):
    def noting(self, size):
        calls.append(size)
        return function(self, size)

    return noting


def test_a_graph_never_sees_stale_inputs(bench, images):
    runner = bench.open()
    for seed in range(12):
        x = images(seed=seed)
        np.testing.assert_array_equal(runner.run({"images": x})["output0"], 2 * x + 1)
    assert bench.gpu.counts["launch"] >= 10


@pytest.mark.parametrize("graphs", [0, 4])
@pytest.mark.parametrize("outputs", ["owned", "borrowed"])
def test_device_arrays(bench, images, on_device, graphs, outputs):
    runner = bench.open(cuda_graphs=graphs, outputs=outputs)
    for seed in range(6):
        x = images(seed=seed)
        result = runner({"images": on_device(bench.gpu, x)})
        np.testing.assert_array_equal(result["output0"].numpy(), 2 * x + 1)
        assert result["sums"].shape == (2,)


def test_one_address_with_new_values(bench, images, on_device):
    """The address is baked into the graph, the values are not."""
    runner = bench.open()
    given = on_device(bench.gpu, images())
    for seed in range(6):
        x = images(seed=seed)
        given.fill(x)
        bench.gpu.drain(1)
        np.testing.assert_array_equal(runner({"images": given})["output0"].numpy(), 2 * x + 1)
    assert bench.gpu.counts["launch"] >= 4


def test_inputs_that_their_owner_still_writes_are_waited_for(bench, images, on_device):
    runner = bench.open()
    stream = bench.gpu.cudaStreamCreateWithFlags(1)[1]
    for seed in range(5):
        x = images(seed=seed)
        given = on_device(bench.gpu, np.zeros_like(x), stream)
        given.fill(x)  # not done yet
        np.testing.assert_array_equal(runner({"images": given})["output0"].numpy(), 2 * x + 1)


def test_the_stream_given_is_obeyed(bench, images, on_device):
    runner = bench.open()
    for stream in (bench.gpu.cudaStreamCreateWithFlags(1)[1], 0, 1):
        for seed in range(4):
            x = images(seed=seed)
            given = on_device(bench.gpu, np.zeros_like(x), stream or 1)
            given.fill(x)
            result = runner({"images": given}, stream=stream)["output0"]
            seen = {}
            bench.gpu.submit(
                stream or 1, lambda r=result, s=seen: s.update(raw=bench.gpu.view(r.pointer, r.nbytes).copy())
            )
            bench.gpu.drain(stream or 1)  # a reader in the order of the same stream needs no wait
            np.testing.assert_array_equal(seen["raw"].view(np.float32).reshape(x.shape), 2 * x + 1)


def test_a_consumer_stream_is_made_to_wait(bench, images, on_device):
    runner = bench.open()
    x = images()
    result = runner({"images": on_device(bench.gpu, x)})["output0"]
    consumer = bench.gpu.cudaStreamCreateWithFlags(1)[1]
    result.wait_on(consumer)
    seen = {}
    bench.gpu.submit(consumer, lambda: seen.update(raw=bench.gpu.view(result.pointer, result.nbytes).copy()))
    bench.gpu.drain(consumer)
    np.testing.assert_array_equal(seen["raw"].view(np.float32).reshape(x.shape), 2 * x + 1)


def test_the_array_interface_waits_on_the_host(bench, images, on_device):
    x = images()
    result = bench.open()({"images": on_device(bench.gpu, x)})["output0"]
    interface = result.__cuda_array_interface__
    raw = bench.gpu.view(interface["data"][0], result.nbytes)  # read at once
    np.testing.assert_array_equal(raw.view(np.float32).reshape(interface["shape"]), 2 * x + 1)
    assert interface["version"] == 3
    assert interface["stream"] is None


def test_outputs_of_one_engine_are_inputs_of_the_next(bench, images, on_device):
    runner = bench.open(contexts=2)
    x = images()
    first = runner({"images": on_device(bench.gpu, x)})
    second = runner({"images": first["output0"]})
    np.testing.assert_array_equal(second["output0"].numpy(), 2 * (2 * x + 1) + 1)


def test_dlpack_goes_through_cuda_core_and_waits(bench, images, on_device, monkeypatch):
    from adaptrt.backends.tensorrt.runtime import arrays

    class Exported:
        @classmethod
        def from_buffer(cls, buffer, shape, dtype):
            made = cls()
            made.seen = (buffer, shape, dtype)
            return made

        def __dlpack__(self, *, max_version=None):
            return self.seen

    class Buffer:
        @staticmethod
        def from_handle(pointer, size, owner):
            return pointer, size, owner

    x = images()
    result = bench.open()({"images": on_device(bench.gpu, x)})["output0"]
    monkeypatch.setattr(arrays, "_cuda_core", lambda: arrays._Core(Buffer, Exported))
    consumer = bench.gpu.cudaStreamCreateWithFlags(1)[1]
    (pointer, size, owner), shape, dtype = result.__dlpack__(stream=consumer, max_version=(1, 0))
    assert (pointer, size, owner, shape, dtype) == (result.pointer, x.nbytes, result, x.shape, np.dtype("float32"))
    bench.gpu.drain(consumer)
    np.testing.assert_array_equal(bench.gpu.view(pointer, size).view(np.float32).reshape(shape), 2 * x + 1)
    assert result.__dlpack_device__() == (2, 0)
    with pytest.raises(BufferError):
        result.__dlpack__(copy=True)


def test_without_cuda_core_dlpack_says_what_to_install(bench, images, on_device):
    result = bench.open()({"images": on_device(bench.gpu, images())})["output0"]
    with pytest.raises(DependencyError, match="pip install cuda-core"):
        result.__dlpack__(stream=1)

    class DlpackOnly:
        def __dlpack__(self, **_):
            raise AssertionError("not reached")

    with pytest.raises(DependencyError, match="pip install cuda-core"):
        bench.open()({"images": DlpackOnly()})


def test_borrowed_outputs_end_with_the_next_call(bench, images, on_device):
    runner = bench.open(outputs="borrowed")
    first = runner({"images": on_device(bench.gpu, images())})["output0"]
    first.numpy()
    runner({"images": on_device(bench.gpu, images(seed=1))})
    with pytest.raises(EngineError, match="borrowed"):
        first.numpy()
    with pytest.raises(EngineError, match="borrowed"):
        _ = first.__cuda_array_interface__


@pytest.mark.parametrize("reader", ["legacy", "own"])
def test_a_reader_of_borrowed_outputs_finishes_first(bench, images, on_device, reader):
    """Work that was submitted before the next call still sees the values it was submitted for."""
    runner = bench.open(outputs="borrowed")
    stream = 1 if reader == "legacy" else bench.gpu.cudaStreamCreateWithFlags(1)[1]
    x = images()
    result = runner({"images": on_device(bench.gpu, x)})["output0"]
    result.wait_on(stream)
    seen = {}
    bench.gpu.submit(stream, lambda: seen.update(raw=bench.gpu.view(result.pointer, x.nbytes).copy()))
    runner.run({"images": images(seed=5)})
    runner({"images": on_device(bench.gpu, images(seed=6))})["output0"].numpy()
    bench.gpu.drain(stream)
    np.testing.assert_array_equal(seen["raw"].view(np.float32).reshape(x.shape), 2 * x + 1)


@pytest.mark.parametrize("reader", ["legacy", "own"])
def test_owned_memory_is_freed_after_its_readers(bench, images, on_device, reader):
    runner = bench.open()
    stream = 1 if reader == "legacy" else bench.gpu.cudaStreamCreateWithFlags(1)[1]
    x = images()
    result = runner({"images": on_device(bench.gpu, x)})["output0"]
    result.wait_on(stream)
    seen = {}
    pointer = result.pointer
    bench.gpu.submit(stream, lambda: seen.update(raw=bench.gpu.view(pointer, x.nbytes).copy()))
    del result
    runner.close()
    bench.gpu.drain(stream)
    np.testing.assert_array_equal(seen["raw"].view(np.float32).reshape(x.shape), 2 * x + 1)


def test_owned_outputs_outlive_the_runner(bench, images, on_device):
    x = images()
    with bench.open() as runner:
        result = runner({"images": on_device(bench.gpu, x)})["output0"]
    np.testing.assert_array_equal(result.numpy(), 2 * x + 1)


def test_inputs_are_held_until_the_work_is_done(bench, images, on_device):
    runner = bench.open(outputs="borrowed")
    given = on_device(bench.gpu, images())
    alive = weakref.ref(given)
    result = runner({"images": given})["output0"]
    del given
    gc.collect()
    assert alive() is not None, "the owner would free memory that is still read"
    result.synchronize()
    runner({"images": on_device(bench.gpu, images())})
    gc.collect()
    assert alive() is None


def test_numpy_inputs_of_device_calls_may_be_changed_at_once(bench, images):
    """They are copied before the call returns, and each call has its own staging memory."""
    runner = bench.open(outputs="owned")
    results = []
    for seed in range(4):
        x = images(seed=seed)
        results.append((x.copy(), runner({"images": x})["output0"]))
        x[:] = -1
    for x, result in results:
        np.testing.assert_array_equal(result.numpy(), 2 * x + 1)


def test_every_shape_of_one_buffer(bench, images):
    """One allocation for each tensor, at the maximum; smaller outputs are its beginning."""
    runner = bench.open()
    runner.run({"images": images(8, 16)})
    runner.run({"images": images(1, 4)})
    allocated = bench.gpu.counts["allocate device"]
    for batch in range(1, 9):
        for size in (4, 8, 12, 16):
            x = images(batch, size, seed=batch)
            np.testing.assert_array_equal(runner.run({"images": x})["output0"], 2 * x + 1)
    assert bench.gpu.counts["allocate device"] == allocated


def test_the_runner_tells_what_it_is(bench, tensorrt_version):
    runner = bench.open()
    assert tensorrt_version in runner.backend
    assert [(info.name, info.dtype, info.shape) for info in runner.inputs] == [
        ("images", "float32", (None, 3, None, None))
    ]
    assert [info.name for info in runner.outputs] == ["output0", "sums"]
    assert runner.spec is None
    assert runner.manifest is None
    assert runner.warnings == ()


def test_nothing_is_left_after_close(bench, images, on_device):
    runner = bench.open()
    for seed in range(8):
        runner.run({"images": images(batch=1 + seed % 3, seed=seed)})
        runner({"images": on_device(bench.gpu, images())})
    runner.close()
    runner.close()
    with pytest.raises(EngineError, match="closed"):
        runner.run({"images": images()})
    with pytest.raises(EngineError, match="closed"):
        runner({"images": images()})
    del runner
    gc.collect()


@pytest.mark.parametrize("rounds", [334, pytest.param(3334, marks=pytest.mark.full)])
def test_thousands_of_calls_leak_nothing(rounds, make_bench, images, on_device):
    bench = make_bench()
    runner = bench.open()
    x = images(1, 4)
    given = on_device(bench.gpu, x)

    def calls(count):
        for _ in range(count):
            runner.run({"images": x})
            runner({"images": given}, outputs="owned")["output0"].synchronize()
            runner({"images": given}, outputs="borrowed")["output0"].synchronize()
        bench.gpu.cudaDeviceSynchronize()

    calls(50)
    before = bench.gpu.used("device"), bench.gpu.used("host"), len(bench.gpu.events), len(bench.gpu.graphs)
    calls(rounds)
    after = bench.gpu.used("device"), bench.gpu.used("host"), len(bench.gpu.events), len(bench.gpu.graphs)
    assert after == before


class TestErrors:
    def test_a_shape_out_of_range_names_the_nearest(self, bench, images):
        runner = bench.open()
        with pytest.raises(ShapeError, match=r"images 9x3x32x8.*nearest.*images 8x3x16x8") as caught:
            runner.run({"images": np.zeros((9, 3, 32, 8), np.float32)})
        assert "1..8x3x4..16x4..16" in str(caught.value.hint)
        with pytest.raises(ShapeError, match="3 axes"):
            runner.run({"images": np.zeros((3, 8, 8), np.float32)})

    def test_types(self, bench, images):
        with pytest.raises(UsageError, match="float64; the engine expects float32"):
            bench.open().run({"images": images().astype(np.float64)})

    def test_names(self, bench, images):
        runner = bench.open()
        with pytest.raises(UsageError, match="no input 'image'") as caught:
            runner.run({"image": images()})
        assert "images" in caught.value.hint
        with pytest.raises(UsageError, match="missing"):
            runner.run({})
        with pytest.raises(UsageError, match="no input 'mask'"):
            runner.run({"images": images(), "mask": images()})

    def test_a_device_array_that_is_not_dense(self, bench, images, on_device):
        given = on_device(bench.gpu, images())
        given.strides = (4, 4, 4, 4)
        with pytest.raises(UsageError, match="contiguous"):
            bench.open()({"images": given})

    def test_something_that_is_no_array(self, bench):
        with pytest.raises(UsageError, match="is a list, which is not an array"):
            bench.open()({"images": [1, 2]})

    def test_memory_of_the_host(self, bench, images, on_device):
        given = on_device(bench.gpu, images())
        given.pointer = bench.gpu.cudaHostAlloc(given.values.nbytes, 0)[1]
        with pytest.raises(UsageError, match="host memory|cuda:-1"):
            bench.open()({"images": given})

    def test_devices(self, bench):
        with pytest.raises(UsageError, match="Device not found: cuda:3"):
            bench.open(device="cuda:3")
        with pytest.raises(UsageError, match="Invalid device for an engine: 'cpu'"):
            bench.open(device="cpu")
        with pytest.raises(UsageError, match="must be 'owned' or 'borrowed'"):
            bench.open(outputs="mine")
        with pytest.raises(UsageError, match="Unsupported stream type: str"):
            bench.open()({"images": np.zeros((1, 3, 4, 4), np.float32)}, stream="fast")

    def test_out_of_memory(self, make_bench, images):
        bench = make_bench(memory=50_000)
        with pytest.raises(EngineError, match=r"out of memory.*(input|output) \w+") as caught:
            bench.open().run({"images": images(8, 16)})
        assert "profile" in caught.value.hint

    def test_a_plan_of_another_version(self, bench):
        bench.path.write_bytes(b"something else")
        with pytest.raises(EngineError, match="cannot load best.engine: 1: Serialization") as caught:
            bench.open()
        assert "build it again" in caught.value.hint

    def test_ultralytics_header(self, bench):
        bench.path.write_bytes(b"\x10\0\0\0{" + bench.plan.stored)
        with pytest.raises(EngineError, match="Ultralytics' header") as caught:
            bench.open()
        assert "unwrap" in caught.value.hint

    def test_host_code(self, make_bench):
        bench = make_bench(fake_gpu.affine_plan(host_code=True))
        with pytest.raises(EngineError) as caught:
            bench.open()
        assert "allow_host_code=True" in caught.value.hint
        bench.open(allow_host_code=True)

    def test_a_missing_file(self, bench):
        bench.path.unlink()
        with pytest.raises(ModelError, match="Engine not found"):
            bench.open()

    def test_odd_tensors(self, make_bench):
        for change, message in (({"format": "CHW32"}, "has format CHW32"), ({"dtype": "fp8"}, "FP8")):
            plan = fake_gpu.affine_plan()
            for name, value in change.items():
                setattr(plan.inputs[0], name, value)
            with pytest.raises(EngineError, match=message):
                make_bench(plan).open()


def test_every_cuda_name_exists_in_cuda_python():
    real = pytest.importorskip("cuda.bindings.runtime", reason="needs cuda-python")
    gpu = fake_gpu.Gpu()
    used = {name for name in dir(gpu) if name.startswith("cuda")}
    assert used <= set(dir(real))
    for name in (
        "cudaMemcpyKind",
        "cudaStreamCaptureMode",
        "cudaMemAllocationType",
        "cudaMemLocationType",
        "cudaMemoryType",
    ):
        assert {member.name for member in getattr(gpu, name)} <= set(dir(getattr(real, name)))
    assert {code.name for code in fake_gpu.Code} <= set(dir(real.cudaError_t))


def test_a_call_that_is_measured_on_the_device_copies_nothing(bench):
    runner = bench.open()
    x = np.arange(2 * 3 * 4 * 4, dtype=np.float32).reshape(2, 3, 4, 4)
    call = runner.device_call({"images": x})
    x[:] = -1  # the copy was made
    for _ in range(3):
        call()
    before = dict(bench.gpu.counts)
    for _ in range(5):
        call()
    grown = {name: count - before.get(name, 0) for name, count in bench.gpu.counts.items()}
    assert not [name for name, count in grown.items() if count and name.startswith(("copy", "allocate"))]
    outputs = runner({"images": np.ones((1, 3, 4, 4), np.float32)})
    np.testing.assert_array_equal(outputs["output0"].numpy(), np.full((1, 3, 4, 4), 3, np.float32))
