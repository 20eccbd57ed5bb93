"""Uses an engine on cuda:1 in many ways, and fails when CUDA was started on cuda:0.

::

    python tests/support/second_gpu.py best.engine image.png
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np

import adaptrt
from adaptrt.backends.tensorrt.device import import_cudart, import_driver

driver, runtime = import_driver(), import_cudart()


def is_started(device: int) -> bool:
    """Whether the device has a primary context, which takes memory there. Asking does not create one."""
    return bool(driver.cuDevicePrimaryCtxGetState(driver.cuDeviceGet(device)[1])[2])


def step(name: str, work: Callable[[], Any]) -> Any:
    found = work()
    if is_started(0):
        raise SystemExit(f"CUDA was started on cuda:0 by: {name}")
    return found


def in_thread(work: Callable[[], Any]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


class OnDevice:
    """A copy of an array on the device of a runner, with the CUDA array interface, and a stream of the device."""

    def __init__(self, runner: Any, values: np.ndarray[Any, Any]) -> None:
        with runner._cuda.current():
            stream = int(runtime.cudaStreamCreateWithFlags(runtime.cudaStreamNonBlocking)[1])
            self.pointer = int(runtime.cudaMalloc(values.nbytes)[1])
            runtime.cudaMemcpy(
                self.pointer, values.ctypes.data, values.nbytes, runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
            )
        self.__cuda_array_interface__ = {
            "shape": values.shape,
            "typestr": values.dtype.str,
            "data": (self.pointer, False),
            "stream": stream,
            "version": 3,
        }


def page_locked(runner: Any, image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = runner.input_array(image.shape, np.uint8)
    array[...] = image
    return array


def calls_of_threads(model: Any, images: list[Any]) -> list[Any]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda number: model(images[number % len(images)])[0], range(160)))


def same(one: Any, other: Any) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("boxes", "scores", "labels"))


def main(file: str, path: str) -> None:
    driver.cuInit(0)
    image = np.ascontiguousarray(cv2.resize(cv2.imread(path), (1280, 720))[..., ::-1])
    model = step("load", lambda: adaptrt.load(file, device="cuda:1"))
    runner, name = model.runner, model.runner.inputs[0].name
    height, width = model.spec.image_size
    values = np.random.default_rng(0).random((2, 3, height, width), np.float32)
    images = [image, step("page-locked memory", lambda: page_locked(runner, image)), OnDevice(runner, image)]
    found = [
        step(f"a call, memory {number}", lambda one=one: model(one)[0])
        for _ in range(3)
        for number, one in enumerate(images)
    ]
    step("a list", lambda: model([image] * 20))
    step("a file", lambda: list(model.predict(path)))
    arrays = step("run", lambda: [runner.run({name: values}) for _ in range(3)][-1])
    step("device arrays", lambda: [one.numpy() for one in runner({name: OnDevice(runner, values)}).values()])
    found += step("threads", lambda: calls_of_threads(model, images))
    joined = step("load again", lambda: adaptrt.load(file, device="cuda:1", join_calls=4))
    step("joined calls", lambda: calls_of_threads(joined, images))
    step("layer times", lambda: runner.layer_times({name: values}, 1))
    step("close in another thread", lambda: in_thread(joined.close))
    step("collect garbage", gc.collect)
    with adaptrt.load(file, device="cuda:0") as first:
        expected = first(image)[0]
        outputs = first.runner.run({name: values})
    assert len(expected), "nothing was found"
    assert all(same(one, expected) for one in found), "cuda:1 finds other boxes than cuda:0"
    assert all(np.array_equal(arrays[one], outputs[one]) for one in outputs), "cuda:1 computes other values than cuda:0"
    model(image)
    assert runtime.cudaGetDevice()[1] == 0, "the current device changed"


if __name__ == "__main__":
    main(*sys.argv[1:])
