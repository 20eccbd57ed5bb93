"""A job of Ray Data: paths in, results out, as they are computed."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt import AdaptrtError, ImageError, PluginError
from adaptrt.specs.executors import ExecutorOptions, ImageResult
from adaptrt.specs.image_files import ImageFile, exact_name, image_file
from adaptrt_ray.cluster import connected, import_ray

if TYPE_CHECKING:
    from adaptrt_ray import RayOptions

MOST_BLOCKS = 2000  # more cost Ray more time than they save


def run_job(
    model: Path, sources: Sequence[ImageFile], options: ExecutorOptions, own: RayOptions
) -> Iterator[ImageResult]:
    """A result for each image, in the order in which actors answer.

    ``model`` and the images must be at the same paths on every machine of the cluster.
    """
    ray = import_ray()
    with connected(ray, own.address, own.actors, options.warn, gpus=own.gpus):
        count = own.gpus or own.actors or max(1, int(ray.cluster_resources().get("CPU", 1)))
        count = min(count, len(sources))
        blocks = min(max(count, -(-len(sources) // own.images)), MOST_BLOCKS, len(sources))
        given: dict[str, list[ImageFile]] = {}  # by the names for actors, which have another current folder
        for path in sources:
            given.setdefault(exact_name(path), []).append(path)
        # as bytes: Arrow's text is UTF-8, and names of files need not be
        paths = ray.data.from_items(
            [{"path": os.fsencode(name)} for name in given], override_num_blocks=min(blocks, len(given))
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
            found = paths.map_batches(
                Actor,
                fn_constructor_args=(str(model.absolute()), _for_actors(options)),
                compute=ray.data.ActorPoolStrategy(size=count),
                batch_size=own.images,
                **({"num_gpus": 1} if own.gpus else {"num_cpus": 1}),
                max_restarts=-1,
                max_task_retries=1,  # by default without end: an image that ends its actor would do so forever
            )
        warned = set[str]()
        for batch in _batches(found):
            for data in batch["result"]:
                result, texts = pickle.loads(data)  # made by an actor of this job
                for text in texts:
                    if text not in warned:
                        warned.add(text)
                        options.warn(text)
                if isinstance(result, AdaptrtError):
                    raise result
                for path in given[exact_name(result.path)]:
                    yield as_named(result, path)


def as_named(result: ImageResult, path: ImageFile) -> ImageResult:
    """The result under the path as it was given, also in the message of its error."""
    error = result.error
    if error is not None:
        error = ImageError(error.message.replace(str(result.path), str(path)), hint=error.hint)
    return replace(result, path=path, error=error)


def _for_actors(options: ExecutorOptions) -> ExecutorOptions:
    """What actors open the model with; its files by absolute paths."""
    return replace(
        options,
        custom_ops=tuple(str(Path(library).absolute()) for library in options.custom_ops),
        plugin_libs=tuple(str(Path(library).absolute()) for library in options.plugin_libs),
        plugins_file=None if options.plugins_file is None else str(Path(options.plugins_file).absolute()),
        own=None,
        warn=_no_warning,
    )


class Actor:
    """Opens the model at its first batch; runs one image at a time with core's own executor."""

    def __init__(self, model: str, options: ExecutorOptions) -> None:
        self._model, self._warnings = Path(model), list[str]()
        self._options = replace(options, threads=options.threads or 1, warn=self._warnings.append)
        self._opened: Any = None
        # closes the model with this actor; a context without a reference closes it at once
        self._open_until = ExitStack()

    def __call__(self, batch: Mapping[str, Sequence[bytes]]) -> dict[str, list[bytes]]:
        paths = [image_file(os.fsdecode(path)) for path in batch["path"]]
        return {"result": [pickle.dumps(one) for one in self._results(paths)]}

    def _results(self, paths: Sequence[ImageFile]) -> Iterator[tuple[ImageResult | AdaptrtError, list[str]]]:
        """Each result with the warnings that it came with; an error that ends the job is a result too."""
        from adaptrt.specs.executors import EXECUTORS

        local: Any = EXECUTORS.find("local")
        try:
            if self._opened is None:
                self._opened = self._open_until.enter_context(local.open(self._model, self._options))
            for result in local.results(self._opened, paths, self._options):
                yield replace(result, pixels=None), self._take_warnings()
        except AdaptrtError as error:
            yield error, self._take_warnings()

    def _take_warnings(self) -> list[str]:
        taken = list(self._warnings)
        self._warnings.clear()
        return taken


def _no_warning(text: str) -> None: ...


def _batches(found: Any) -> Iterator[Mapping[str, Any]]:
    from ray.exceptions import RayActorError, RayError

    try:
        yield from found.iter_batches(batch_size=None, batch_format="numpy")
    except RayActorError as error:
        raise PluginError(
            f"An actor of the Ray job ended, and so did another one with the same images: {error}",
            hint="Finished parts are kept. With --executor processes, an image that ends its process becomes a row with an error.",
        ) from error
    except RayError as error:
        raise PluginError(
            f"The Ray job failed: {str(error).strip().splitlines()[-1]}",
            hint="Finished parts are kept. Find the cause with --executor local.",
        ) from error
