"""``adaptrt.compare`` and ``adaptrt.clean``: the calls of the Python API about what is inside a model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.pipeline.public_call import public_call
from adaptrt.pipeline.request_values import (
    StrPath,
    origin_of,
    path_of,
    paths_of,
    shapes_of,
    words_of,
)

if TYPE_CHECKING:
    from adaptrt.pipeline.clean import Cleaned
    from adaptrt.pipeline.layers.records import LayerComparison


@public_call
def compare(
    *files: StrPath,
    outputs: str | Sequence[str] = (),
    image: StrPath | None = None,
    inputs: StrPath | None = None,
    samples: int = 1,
    seed: int = 0,
    shape: str | Sequence[str] = (),
    adapter: str | None = None,
    source: StrPath | None = None,
    weights: StrPath | None = None,
    options: Mapping[str, Any] | None = None,
    trust_checkpoint: bool = False,
    onnx: StrPath | None = None,
    precision: str | None = None,
    at_once: int = 8,
    device: str | None = None,
    custom_ops: StrPath | Sequence[StrPath] = (),
    allow_host_code: bool = False,
    plugin_libs: StrPath | Sequence[StrPath] = (),
    plugins_file: StrPath | None = None,
) -> LayerComparison:
    """Compare the tensors inside several forms of a model with those of the first.

    ``files`` are ONNX files, engines or other built files, JSON results of Polygraphy, or (as the first) ``"eager"``, with
    ``adapter`` and ``source`` as for ``convert``. ``outputs`` is ``"all"``, ``"bisect"``, or names of tensors, nodes or modules;
    all of them, unless a file has to be rebuilt to read its internal tensors. Each pair of the result has ``rows`` in the order of the graph, and
    ``first``: the first tensor beyond its limit. Values have the same form as for ``adaptrt compare``.
    """
    from adaptrt.pipeline.layers.compare import compare as run
    from adaptrt.pipeline.layers.request import CompareRequest, InputRequest
    from adaptrt.specs.backends import OpenOptions

    return run(
        CompareRequest(
            files=tuple(os.fspath(file) for file in files),
            outputs=words_of(outputs),
            inputs=InputRequest(
                image=path_of(image),
                file=path_of(inputs),
                samples=samples,
                seed=seed,
                shapes=shapes_of(shape),
            ),
            origin=origin_of(adapter, source, weights, options, trust_checkpoint),
            onnx=path_of(onnx),
            precision=precision,
            at_once=at_once,
            options=OpenOptions(
                device=device,
                custom_ops=paths_of(custom_ops),
                plugin_libs=paths_of(plugin_libs),
                allow_host_code=allow_host_code,
            ),
            plugins_file=path_of(plugins_file),
        )
    )


@public_call
def clean(
    source: StrPath,
    output: StrPath,
    *,
    simplify: bool = True,
    target: str | int | None = None,
    shape: str | Sequence[str] = (),
    image: StrPath | None = None,
    custom_ops: StrPath | Sequence[StrPath] = (),
) -> Cleaned:
    """Run the graph passes of a conversion on any ONNX file, and write the result if its outputs agree in ONNX Runtime.

    ``shape`` gives the sizes of dynamic axes of a file without a spec. Values have the same form as for ``adaptrt clean``.
    """
    from adaptrt.pipeline.clean import CleanRequest
    from adaptrt.pipeline.clean import clean as run
    from adaptrt.pipeline.layers.request import InputRequest

    return run(
        CleanRequest(
            source=Path(source),
            output=Path(output),
            simplify=simplify,
            target=None if target is None else str(target),
            inputs=InputRequest(image=path_of(image), samples=3, shapes=shapes_of(shape)),
            custom_ops=paths_of(custom_ops),
        )
    )
