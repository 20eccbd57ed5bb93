"""Torch and an engine in one process: tensors in and out without a copy, in the order of torch's streams, from threads."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

import pytest

from adaptrt.errors import UsageError

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("cuda.core", reason="needs cuda-core")
if not torch.cuda.is_available():
    pytest.skip("torch sees no GPU", allow_module_level=True)

BUSY = 20_000_000  # cycles: about ten milliseconds


def test_tensors_in_and_out_share_memory(open_engine):
    runner = open_engine("portable")
    x = torch.rand(2, 3, 64, 64, device="cuda")
    result = runner({"images": x})["output0"]
    y = torch.from_dlpack(result)
    assert y.data_ptr() == result.pointer
    assert (y.dtype, tuple(y.shape), str(y.device)) == (torch.float32, (2, 3, 64, 64), "cuda:0")
    assert torch.equal(y, 2 * x + 1)


@pytest.mark.parametrize("outputs", ["owned", "borrowed"])
def test_the_order_of_the_current_stream_holds(open_engine, outputs):
    """Everything before is slow, nothing is synchronized, and each sees what it should."""
    runner = open_engine("portable", outputs=outputs)
    for stream in (torch.cuda.default_stream(), torch.cuda.Stream()):
        with torch.cuda.stream(stream):
            checks = []
            for seed in range(8):
                torch.cuda._sleep(BUSY)
                x = torch.full((2, 3, 64, 64), float(seed), device="cuda")
                y = torch.from_dlpack(runner({"images": x})["output0"])
                checks.append((y == 2 * seed + 1).all())
                x.fill_(-1)  # after the engine read it, since the tensor is used on this stream
                del x, y
            assert all(bool(check) for check in checks)


def test_an_explicit_stream(open_engine):
    runner = open_engine("portable")
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for seed in range(6):
            torch.cuda._sleep(BUSY)
            x = torch.full((1, 3, 64, 64), float(seed), device="cuda")
            y = torch.from_dlpack(runner({"images": x}, stream=stream)["output0"])
            assert bool((y == 2 * seed + 1).all())


def test_another_stream_may_take_the_output(open_engine):
    runner = open_engine("portable")
    x = torch.rand(2, 3, 64, 64, device="cuda")
    torch.cuda._sleep(BUSY)
    result = runner({"images": x})["output0"]
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        y = torch.from_dlpack(result)
        same = torch.equal(y, 2 * x + 1)
    assert same


def test_an_input_that_is_dropped_at_once(open_engine):
    """Its memory goes back to torch only after the engine has read it."""
    runner = open_engine("portable")
    for seed in range(10):
        torch.cuda._sleep(BUSY)
        result = runner({"images": torch.full((8, 3, 256, 256), float(seed), device="cuda")})["output0"]
        torch.full((8, 3, 256, 256), -5.0, device="cuda")  # would take the place of a freed input
        assert bool((torch.from_dlpack(result) == 2 * seed + 1).all())


def test_torch_reads_the_array_interface(open_engine):
    runner = open_engine("portable")
    x = torch.rand(2, 3, 64, 64, device="cuda")
    torch.cuda._sleep(BUSY)
    y = torch.as_tensor(runner({"images": x})["output0"], device="cuda")
    assert torch.equal(y, 2 * x + 1)


def test_a_tensor_outlives_the_engine(open_engine):
    runner = open_engine("portable")
    x = torch.rand(2, 3, 64, 64, device="cuda")
    y = torch.from_dlpack(runner({"images": x})["output0"])
    runner.close()
    gc.collect()
    assert torch.equal(y, 2 * x + 1)


@pytest.mark.parametrize("outputs", ["owned", "borrowed"])
def test_threads_with_separate_streams(open_engine, outputs):
    runner = open_engine("portable", contexts=4, outputs=outputs)

    def calls(thread):
        good = True
        with torch.cuda.stream(torch.cuda.Stream()):
            for number in range(40):
                value = 100.0 * thread + number
                x = torch.full((1 + number % 4, 3, 64, 64), value, device="cuda")
                y = torch.from_dlpack(runner({"images": x})["output0"])
                good &= bool((y == 2 * value + 1).all())
        return good

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(calls, range(8)))


def test_what_torch_gives_wrongly(open_engine):
    runner = open_engine("portable")
    x = torch.rand(2, 3, 64, 64, device="cuda")
    with pytest.raises(UsageError, match="contiguous"):
        runner({"images": x.to(memory_format=torch.channels_last)})
    with pytest.raises(UsageError, match="float16; the engine expects float32"):
        runner({"images": x.half()})
    with pytest.raises(UsageError, match="host memory"):
        runner({"images": x.cpu()})
    with pytest.raises(UsageError, match="gradients"):
        runner({"images": x.requires_grad_()})


def test_cupy(open_engine):
    cupy = pytest.importorskip("cupy", reason="needs cupy")
    runner = open_engine("portable")
    x = cupy.random.random((2, 3, 64, 64), dtype=cupy.float32)
    result = runner({"images": x})["output0"]
    assert bool((cupy.from_dlpack(result) == 2 * x + 1).all())
    assert bool((cupy.asarray(result) == 2 * x + 1).all())


def test_many_calls_leak_nothing(open_engine):
    runner = open_engine("portable")
    x = torch.rand(1, 3, 64, 64, device="cuda")

    def calls(count):
        for _ in range(count):
            torch.from_dlpack(runner({"images": x})["output0"]).sum()
        torch.cuda.synchronize()
        gc.collect()
        return torch.cuda.mem_get_info()[0]

    calls(3000)  # the pool keeps what the host, running ahead, once had in flight
    before = calls(3000)
    assert before - calls(3000) <= 8 << 20


def test_the_source_model_runs_on_the_gpu():
    """For `adaptrt bench eager best.engine`."""
    from adaptrt.export.eager import EagerRunner

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).eval()
    inputs = {"images": torch.rand(2, 3, 32, 32).numpy()}
    expected = EagerRunner(model, ("out",)).run(inputs)["out"]
    runner = EagerRunner(model, ("out",), "cuda:0")
    held = runner.input_array((2, 3, 32, 32), "float32")
    held[...] = inputs["images"]
    assert torch.from_numpy(held).is_pinned()
    assert runner.backend == "eager (cuda:0)"
    for given in (held, inputs["images"], inputs["images"].transpose(0, 1, 3, 2).transpose(0, 1, 3, 2)):
        torch.testing.assert_close(runner.run({"images": given})["out"], expected, rtol=1e-2, atol=1e-3)  # TF32
