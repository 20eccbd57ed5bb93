"""JPEG files decoded on the GPU by nvImageCodec, on request: its pixels are not exactly those of OpenCV."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adaptrt.errors import DependencyError, EngineError
from adaptrt.vision.opencv import MAX_PIXELS

_SUFFIXES = (".jpg", ".jpeg")
_THREADS = 8
# chroma is interpolated, as OpenCV's libjpeg-turbo does it; otherwise colors are blocks of 2 x 2 pixels
_OPTIONS = ":fancy_upsampling=1"


class JpegFiles:
    """A decoder on one GPU. Several threads may call it, one after another."""

    def __init__(self, device: int) -> None:
        self._codec = _codec()
        try:
            self._decoder = self._codec.Decoder(device_id=device, max_num_cpu_threads=_THREADS, options=_OPTIONS)
        except Exception as error:  # a RuntimeError with the words of CUDA
            raise EngineError(f"nvImageCodec cannot decode on cuda:{device}: {error}") from error
        self._params = self._codec.DecodeParams(apply_exif_orientation=True, color_spec=self._codec.ColorSpec.SRGB)
        self._lock = threading.Lock()

    def decoded(self, images: Sequence[Any], stream: int) -> Sequence[Any]:
        """The images, JPEG files among them as arrays uint8 [H, W, 3] RGB in GPU memory, ready on ``stream``.

        What the decoder does not take stays a path: the CPU decodes it, or says what is wrong with it.
        """
        opened = {index: found for index, image in enumerate(images) if (found := self._open(image)) is not None}
        if not opened:
            return images
        with self._lock:
            arrays = self._decoder.decode([*opened.values()], params=self._params, cuda_stream=stream)
        taken = list(images)
        for index, array in zip(opened, arrays, strict=True):
            if array is not None and tuple(array.__cuda_array_interface__["shape"])[2:] == (3,):
                taken[index] = array
        return taken

    def _open(self, image: Any) -> Any:
        """The stream of a JPEG file; ``None`` for anything else."""
        if not isinstance(image, (str, os.PathLike)) or Path(image).suffix.lower() not in _SUFFIXES:
            return None
        try:
            found = self._codec.CodeStream(os.fspath(image))
            return found if found.codec_name == "jpeg" and found.height * found.width <= MAX_PIXELS else None
        except Exception:
            return None


def _codec() -> Any:
    try:
        return importlib.import_module("nvidia.nvimgcodec")
    except ImportError as error:
        raise DependencyError(
            f"gpu_jpeg requires nvImageCodec: {error}.",
            hint="Install it: pip install 'adaptrt[jpeg]'",
        ) from error
