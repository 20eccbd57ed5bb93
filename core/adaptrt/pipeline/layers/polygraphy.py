"""Inputs and results as JSON of Polygraphy (``polygraphy run --save-inputs``, ``--save-outputs``), and inputs as ``.npz``.

Polygraphy itself is not required: an array is the base64 text of a ``.npy`` file.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.errors import ModelError, UsageError
from adaptrt.store.workspace import written_aside

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.specs.tensors import Arrays

_KIND = "polygraphy_class"


def read_results(path: Path) -> dict[str, list[dict[str, NDArray[Any]]]]:
    """The outputs of each runner in a file of results: one mapping for each iteration."""
    content = _json(path)
    if not isinstance(content, dict) or content.get(_KIND) != "RunResults" or not content.get("lst"):
        raise ModelError(
            f"{path.name} does not contain results of Polygraphy.",
            hint="Write them with: polygraphy run model.onnx --onnxrt --save-inputs inputs.json --save-outputs results.json",
        )
    try:
        return {
            str(runner): [
                {str(name): _array(value["values"]) for name, value in one["outputs"].items()} for one in iterations
            ]
            for runner, iterations in content["lst"]
        }
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        raise _damaged(path, error) from error


def write_results(path: Path, runs: Mapping[str, Sequence[Arrays]]) -> None:
    """Write results in the form that ``polygraphy run --load-outputs`` reads."""
    content = {
        "lst": [
            [
                runner,
                [
                    {
                        "outputs": {
                            name: {"values": _encoded(array), _KIND: "LazyArray"} for name, array in outputs.items()
                        },
                        "runtime": None,
                        "runner_name": runner,
                        _KIND: "IterationResult",
                    }
                    for outputs in iterations
                ],
            ]
            for runner, iterations in runs.items()
        ],
        _KIND: "RunResults",
    }
    _write(path, content, "--save-results")


def read_inputs(path: Path) -> list[dict[str, NDArray[Any]]]:
    """The inputs of each iteration: a file of ``--save-inputs``, or an ``.npz`` file with the inputs of one."""
    if path.suffix.lower() == ".npz":
        try:
            with np.load(path, allow_pickle=False) as file:
                return [{name: np.asarray(file[name]) for name in file.files}]
        except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
            raise UsageError(
                f"{path} is not an .npz file of arrays: {error}.", hint="numpy.savez(path, images=array) writes one."
            ) from error
    content = _json(path)
    if not isinstance(content, list) or not content:
        raise UsageError(
            f"{path.name} does not contain inputs.",
            hint="Use a file of polygraphy run --save-inputs, or numpy.savez(path, images=array).",
        )
    try:
        return [{str(name): _array(value) for name, value in one.items()} for one in content]
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        raise _damaged(path, error) from error


def write_inputs(path: Path, inputs: Sequence[Arrays]) -> None:
    """Write inputs in the form that ``polygraphy run --load-inputs`` reads."""
    _write(path, [{name: _encoded(array) for name, array in one.items()} for one in inputs], "--save-inputs")


def _encoded(array: NDArray[Any]) -> dict[str, str]:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return {"array": base64.b64encode(buffer.getvalue()).decode(), _KIND: "ndarray"}


def _array(value: Any) -> NDArray[Any]:
    if value[_KIND] != "ndarray":
        raise ValueError(f"an array of kind {value[_KIND]!r} is not supported")
    array: NDArray[Any] = np.load(io.BytesIO(base64.b64decode(value["array"], validate=True)), allow_pickle=False)
    return array


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.", hint="Check the path.") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path.name} is not valid JSON: {error}.", hint="Check that the file is complete.") from error


def _write(path: Path, content: Any, flag: str) -> None:
    from adaptrt.pipeline.output import output_error

    try:
        with written_aside(path, parents=True) as aside:
            aside.write_text(json.dumps(content), encoding="utf-8")
    except OSError as error:
        raise output_error(error, path.parent, flag) from error


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"{path.name} cannot be read: {type(error).__name__}: {error}.",
        hint="Check that the file is complete, and that a current version of Polygraphy wrote it.",
    )
