"""A converted model as a function of columns, for data pipelines whose workers are other processes."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.errors import AdaptrtError, ImageError, UsageError
from adaptrt.json_text import json_text
from adaptrt.pipeline.public_call import public_call
from adaptrt.pipeline.python_words import say_in_python
from adaptrt.specs.backends import OpenOptions

if TYPE_CHECKING:
    from adaptrt.pipeline.load import Model
    from adaptrt.predictions import Predictions
    from adaptrt.specs.adoption import Adoption
    from adaptrt.vision.images import ImageArray

IMAGE_COLUMNS = ("image", "bytes", "path")
"""The columns that images can come from: the first one that a batch has is used."""
_KINDS: Mapping[str, tuple[Any, str]] = {
    "bytes": ((bytes, bytearray, memoryview), "the content of image files"),
    "path": ((str, os.PathLike), "paths as text"),
}


class Predictor:
    """A converted model that takes and returns batches of columns, with the results of ``adaptrt predict``.

    ``Predictor("best.onnx")`` opens nothing and can be pickled; each process opens the file at its first batch. A batch maps
    names to columns. Images come from the first of these columns that it has: ``image`` (arrays uint8 [H, W, 3] RGB), ``bytes``
    (contents of image files) or ``path``. A call returns the other columns unchanged, and for each image
    ``height``, ``width`` (pixels), ``prediction`` (JSON text, with the keys of ``adaptrt predict --json``) and ``error``. An image that cannot be
    read has an ``error`` and an empty ``prediction``; otherwise ``error`` is empty. These are the conventions of Ray Data's
    ``map_batches(Predictor, fn_constructor_args=...)``.

    ``params`` are parameters of the decoder (``{"conf": 0.4}``). ``batch`` is the number of images per run of the model: 1 gives
    exactly the results of ``predict``; more can be faster on a GPU, and differ in the last digits. ``threads`` limits the CPU
    threads of one model. The other arguments are those of ``load``.
    """

    @public_call
    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        params: Mapping[str, Any] | None = None,
        batch: int = 1,
        threads: int | None = None,
        device: str | None = None,
        custom_ops: Sequence[str | os.PathLike[str]] = (),
        allow_host_code: bool = False,
        plugin_libs: Sequence[str | os.PathLike[str]] = (),
        plugins_file: str | os.PathLike[str] | None = None,
        adoption: Adoption | None = None,
    ) -> None:
        if batch < 1:
            raise UsageError(f"batch must be at least 1; got {batch}.")
        self.path = os.fspath(path)
        self.params = dict(params or {})
        self.batch = batch
        self._options = OpenOptions(
            device=device,
            custom_ops=tuple(map(Path, custom_ops)),
            plugin_libs=tuple(map(Path, plugin_libs)),
            allow_host_code=allow_host_code,
            threads=threads,
        )
        self._plugins_file = None if plugins_file is None else Path(plugins_file)
        self._adoption = adoption
        self._model: Model | None = None
        self._lock = threading.Lock()

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """The columns of a batch with its results; every column is an array."""
        try:
            return self._results(batch)
        except AdaptrtError as error:
            say_in_python(error, Predictor.__init__)
            raise

    def _results(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        import numpy as np

        column = next((name for name in IMAGE_COLUMNS if name in batch), None)
        if column is None:
            raise UsageError(
                f"The batch has no column {', '.join(IMAGE_COLUMNS[:-1])} or {IMAGE_COLUMNS[-1]}.",
                hint=f"Its columns are: {', '.join(batch) or 'none'}.",
            )
        rows = self._rows(column, batch[column])
        kept = {name: values for name, values in batch.items() if name != column or column == "path"}
        return {
            **kept,
            "height": np.array([row[0] for row in rows], np.int64),
            "width": np.array([row[1] for row in rows], np.int64),
            "prediction": np.array([row[2] for row in rows], object),
            "error": np.array([row[3] for row in rows], object),
        }

    @property
    def model(self) -> Model:
        """The model, opened at first use in this process."""
        with self._lock:
            if self._model is None:
                from adaptrt.pipeline.load import load

                self._model = load(
                    Path(self.path), self._options, plugins_file=self._plugins_file, adoption=self._adoption
                )
            return self._model

    def close(self) -> None:
        """Close the model of this process; the next batch opens it again."""
        with self._lock:
            if self._model is not None:
                self._model.close()
                self._model = None

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_model", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _model=None, _lock=threading.Lock())

    def _rows(self, column: str, images: Sequence[Any]) -> list[tuple[int, int, str, str]]:
        """Height, width, prediction and error of each image; pixels of at most ``batch`` files are in memory."""
        from adaptrt.specs import task_named

        model, rows = self.model, []
        task = task_named(model.spec.task)
        for start in range(0, len(images), self.batch):
            found = [self._read(column, image) for image in images[start : start + self.batch]]
            arrays = [image for image in found if not isinstance(image, ImageError)]
            predictions: list[Predictions] = model(arrays, **self.params) if arrays else []
            left = iter(predictions)
            for image in found:
                if isinstance(image, ImageError):
                    rows.append((0, 0, "", image.message))
                else:
                    rows.append((*image.shape[:2], json_text(task.row(next(left))), ""))
        return rows

    def _read(self, column: str, image: Any) -> ImageArray | ImageError:
        from adaptrt.vision.images import decode_image, read_image

        channels = self.model.channels
        kinds, expected = _KINDS.get(column, (object, ""))
        if not isinstance(image, kinds):  # such as a missing value
            return ImageError(f"The column {column} must contain {expected}; got {type(image).__name__}.")
        try:
            if column == "bytes":
                return decode_image(bytes(image), channels)
            return read_image(image, channels)
        except ImageError as error:
            return error
