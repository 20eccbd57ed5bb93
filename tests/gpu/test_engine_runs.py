"""An engine on the GPU: right numbers, order of streams, graphs, profiles, outputs of unknown size, errors, leaks."""

from __future__ import annotations

import gc
import resource
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from adaptrt.errors import EngineError, ShapeError, UsageError


def expect(result, x):
    np.testing.assert_array_equal(result, 2 * x + 1)


def test_numpy_in_numpy_out(open_engine, images):
    runner = open_engine()
    for batch, size in ((1, 16), (8, 256), (3, 64), (8, 256), (1, 16)):
        x = images(batch, size, seed=batch)
        outputs = runner.run({"images": x})
        expect(outputs["output0"], x)
        np.testing.assert_allclose(outputs["sums"], x.sum((1, 2, 3)), rtol=1e-4)


def test_the_static_engine(open_engine, images):
    runner = open_engine("static", contexts=2)
    for seed in range(4):
        x = images(seed=seed)
        expect(runner.run({"images": x})["output0"], x)
    assert runner.inputs[0].shape == (2, 3, 64, 64)


@pytest.mark.parametrize("graphs", [0, 8])
@pytest.mark.parametrize("outputs", ["owned", "borrowed"])
def test_device_arrays(open_engine, images, on_device, graphs, outputs):
    runner = open_engine(cuda_graphs=graphs, outputs=outputs)
    kept = []
    for seed in range(12):
        x = images(seed=seed)
        kept.append(on_device(x))
        expect(runner({"images": kept[-1]})["output0"].numpy(), x)
    for given, seed in ((kept[0], 0), (kept[1], 1)) * 4:
        expect(runner({"images": given})["output0"].numpy(), images(seed=seed))


def test_a_graph_sees_new_values_at_one_address(open_engine, images, on_device):
    runner = open_engine()
    given = on_device(images())
    for seed in range(10):
        x = images(seed=seed)
        given.fill(x)
        given.cudart.cudaDeviceSynchronize()
        expect(runner({"images": given})["output0"].numpy(), x)


def test_inputs_still_being_written_are_waited_for(open_engine, images, on_device, busy_stream):
    runner = open_engine()
    stream = busy_stream()
    given = on_device(np.zeros_like(images()), stream)
    for seed in range(6):
        x = images(seed=seed)
        busy_stream.delay(stream)
        given.fill(x)
        expect(runner({"images": given})["output0"].numpy(), x)


def test_the_stream_given_orders_inputs_and_outputs(open_engine, images, on_device, busy_stream, cudart):
    runner = open_engine()
    stream = busy_stream()
    given = on_device(np.zeros_like(images()), stream)
    sink = np.empty_like(images())
    for seed in range(6):
        x = images(seed=seed)
        busy_stream.delay(stream)
        given.fill(x)
        result = runner({"images": given}, stream=stream)["output0"]
        kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        cudart.cudaMemcpyAsync(sink.ctypes.data, result.pointer, sink.nbytes, kind, stream)
        cudart.cudaStreamSynchronize(stream)
        expect(sink, x)


def test_the_default_stream(open_engine, images, on_device):
    runner = open_engine()
    given = on_device(images())
    for seed in range(4):
        x = images(seed=seed)
        given.fill(x)  # on the default stream
        result = runner({"images": given}, stream=0)["output0"]
        expect(result.numpy(), x)


def test_a_consumer_waits_and_the_host_does_not(open_engine, images, on_device, busy_stream, cudart):
    runner = open_engine()
    producer, consumer = busy_stream(), busy_stream()
    x = images()
    given = on_device(x, producer)
    sink = np.zeros_like(x)
    result = runner({"images": given})["output0"]
    result.wait_on(consumer)
    kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
    cudart.cudaMemcpyAsync(sink.ctypes.data, result.pointer, sink.nbytes, kind, consumer)
    cudart.cudaStreamSynchronize(consumer)
    expect(sink, x)


def test_outputs_feed_the_next_engine(open_engine, images, on_device):
    runner = open_engine()
    x = images()
    first = runner({"images": on_device(x)})
    expect(runner({"images": first["output0"]})["output0"].numpy(), 2 * x + 1)


def test_borrowed_outputs_end_with_the_next_call(open_engine, images, on_device):
    runner = open_engine(outputs="borrowed")
    given = on_device(images())
    first = runner({"images": given})["output0"]
    expect(first.numpy(), images())
    runner({"images": given})
    with pytest.raises(EngineError, match="borrowed"):
        first.numpy()


def test_the_tightest_profile(open_engine, images):
    runner = open_engine("profiles")
    for batch, size in ((1, 64), (8, 256), (1, 64), (2, 64), (1, 16)) * 2:
        x = images(batch, size)
        expect(runner.run({"images": x})["output0"], x)
    used = {plan.shapes[0]: plan.profile for plan in runner._plans.values()}
    assert used == {(1, 3, 64, 64): 0, (8, 3, 256, 256): 1, (2, 3, 64, 64): 1, (1, 3, 16, 16): 1}


def test_outputs_whose_size_the_data_decides(open_engine, images, on_device):
    from adaptrt.backends.tensorrt.generations import import_tensorrt

    here = import_tensorrt()
    if here.generation.generation < 10 or here.flavor != "full":  # a lean runtime gets the engine from TensorRT 8
        with pytest.raises(EngineError, match="depends on the data"):
            open_engine("found")
        return
    runner = open_engine("found")
    for size, seed in ((16, 0), (256, 1), (64, 2), (256, 3)):
        x = images(2, size, seed=seed)
        places = np.stack(np.nonzero(x > 0.5))
        np.testing.assert_array_equal(np.sort(runner.run({"images": x})["found"], axis=1), np.sort(places, axis=1))
        for outputs in ("owned", "borrowed"):
            result = runner({"images": on_device(x)}, outputs=outputs)
            assert result["found"].shape == places.shape
            np.testing.assert_array_equal(np.sort(result["found"].numpy(), axis=1), np.sort(places, axis=1))
            expect(result["output0"].numpy(), x)


def test_a_plan_without_profile_sharing(open_engine, images):
    from adaptrt.backends.tensorrt.generations import import_tensorrt

    if not import_tensorrt().generation.sharing_preview:
        pytest.skip("profiles are always shared in this TensorRT")
    runner = open_engine("unshared", contexts=4)

    def calls(thread):
        for number in range(10):
            x = images(seed=100 * thread + number)
            expect(runner.run({"images": x})["output0"], x)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(calls, range(4)))
    assert any("without profile sharing" in warning for warning in runner.warnings), runner.warnings


@pytest.mark.parametrize("outputs", ["host", "owned", "borrowed"])
def test_threads(open_engine, images, on_device, outputs):
    runner = open_engine(contexts=4)

    def calls(thread):
        for number in range(50):
            x = images(1 + number % 3, 64, seed=100 * thread + number)
            if outputs == "host":
                expect(runner.run({"images": x})["output0"], x)
            else:
                expect(runner({"images": on_device(x)}, outputs=outputs)["output0"].numpy(), x)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(calls, range(8)))
    assert runner.warnings == ()


def test_ten_thousand_calls_leak_nothing(open_engine, images, on_device, cudart):
    runner = open_engine()
    x = images(1, 64)
    given = on_device(x)

    def calls(count):
        for _ in range(count):
            runner.run({"images": x})
            runner({"images": given}, outputs="owned")
            runner({"images": given}, outputs="borrowed")["output0"].synchronize()
        cudart.cudaDeviceSynchronize()
        gc.collect()
        return cudart.cudaMemGetInfo()[1], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    free_before, host_before = calls(200)
    free_after, host_after = calls(3334)
    assert free_before - free_after <= 4 << 20
    assert host_after - host_before <= 8 << 10  # KiB


def test_opening_and_closing_leaks_nothing(engines, images, cudart):
    from adaptrt.backends.tensorrt.runtime import TensorRTRunner

    def round_():
        with TensorRTRunner(engines("affine"), allow_host_code=True) as runner:
            for _ in range(3):
                runner.run({"images": images()})
        gc.collect()
        return cudart.cudaMemGetInfo()[1]

    round_()
    before = round_()
    for _ in range(10):
        after = round_()
    assert before - after <= 4 << 20


class TestErrors:
    def test_shapes(self, open_engine):
        with pytest.raises(ShapeError, match=r"nearest.*8x3x256x16"):
            open_engine().run({"images": np.zeros((9, 3, 300, 8), np.float32)})

    def test_types_and_layout(self, open_engine, images, on_device):
        runner = open_engine()
        with pytest.raises(UsageError, match="float64"):
            runner.run({"images": images().astype(np.float64)})
        given = on_device(images())
        given.strides = (4, 8, 12, 16)
        with pytest.raises(UsageError, match="contiguous"):
            runner({"images": given})

    def test_use_after_close(self, open_engine, images):
        runner = open_engine()
        runner.run({"images": images()})
        runner.close()
        with pytest.raises(EngineError, match="closed"):
            runner.run({"images": images()})

    def test_owned_outputs_outlive_the_engine(self, open_engine, images, on_device):
        x = images()
        runner = open_engine()
        result = runner({"images": on_device(x)})["output0"]
        runner.close()
        expect(result.numpy(), x)

    def test_out_of_memory(self, open_engine, images, cudart):
        runner = open_engine()
        hogs = []
        for size in (1 << 34, 1 << 30, 1 << 26, 1 << 23, 1 << 21, 1 << 20):
            while True:
                error, pointer = cudart.cudaMalloc(size)
                if int(error):
                    break
                hogs.append(pointer)
        cudart.cudaGetLastError()
        try:
            with pytest.raises(EngineError, match="out of memory"):
                runner.run({"images": images(8, 256)})
        finally:
            for pointer in hogs:
                cudart.cudaFree(pointer)
        expect(runner.run({"images": images(8, 256)})["output0"], images(8, 256))

    def test_a_damaged_plan(self, engines, tmp_path):
        from adaptrt.backends.tensorrt.runtime import TensorRTRunner

        plan = bytearray(engines("affine").read_bytes())
        damaged = tmp_path / "damaged.engine"
        damaged.write_bytes(plan[: len(plan) // 2])
        with pytest.raises(EngineError, match=r"cannot load damaged.engine"):
            TensorRTRunner(damaged)
        damaged.write_bytes(b"no plan at all")
        with pytest.raises(EngineError, match=r"cannot load damaged.engine"):
            TensorRTRunner(damaged)

    def test_host_code(self, engines):
        from adaptrt.backends.tensorrt.runtime import TensorRTRunner

        with pytest.raises(EngineError) as caught:
            TensorRTRunner(engines("portable"))
        assert "allow_host_code=True" in str(caught.value)
