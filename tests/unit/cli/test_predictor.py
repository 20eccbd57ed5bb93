"""``Predictor``: columns in, columns out, picklable, with the results of ``adaptrt predict``."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptrt import Predictor, Values
from adaptrt.errors import ModelError, UsageError

Converted = Callable[[str], Path]


def crops(image: Path, folder: Path) -> list[Path]:
    """Images of several sizes."""
    from adaptrt.vision.images import read_image, write_image

    folder.mkdir()
    whole = read_image(image)
    return [write_image(folder / f"{index}.png", whole[: 96 - 8 * index, : 128 - 5 * index]) for index in range(5)]


def predicted(call: Any, model: Path, images: list[Path]) -> list[dict[str, Any]]:
    """What ``adaptrt predict --json`` finds, without paths and times."""
    rows = call("predict", model, *images, "--json").json["images"]
    return [{key: value for key, value in row.items() if key not in ("milliseconds", "output")} for row in rows]


def as_rows(columns: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "path": str(path),
            "height": int(columns["height"][index]),
            "width": int(columns["width"][index]),
            **json.loads(columns["prediction"][index]),
        }
        for index, path in enumerate(columns["path"])
    ]


@pytest.mark.parametrize("column", ["path", "bytes", "image"])
@pytest.mark.parametrize("net", ["detector", "classifier"])
def test_results_are_those_of_predict(
    adaptrt: Any, converted: Converted, image: Path, tmp_path: Path, net: str, column: str
) -> None:
    from adaptrt.vision.images import read_image

    model, images = converted(net), crops(image, tmp_path / "images")
    batch: dict[str, Any] = {"path": [str(path) for path in images]}
    if column == "bytes":
        batch["bytes"] = [path.read_bytes() for path in images]
    if column == "image":
        batch["image"] = [read_image(path) for path in images]
    with Predictor(model) as predictor:
        found = predictor(batch)
    assert list(found) == ["path", "height", "width", "prediction", "error"]
    assert as_rows(found) == predicted(adaptrt, model, images)
    assert list(found["error"]) == [""] * len(images)


def test_larger_batches_agree(converted: Converted, image: Path, tmp_path: Path) -> None:
    model, images = converted("detector"), crops(image, tmp_path / "images")
    alone = Predictor(model)({"path": images})
    joined = Predictor(model, batch=4)({"path": images})
    for one, other in zip(as_rows(alone), as_rows(joined), strict=True):
        assert [box["label"] for box in one["detections"]] == [box["label"] for box in other["detections"]]
        np.testing.assert_allclose(
            [box["box"] for box in one["detections"]], [box["box"] for box in other["detections"]], atol=2e-3
        )


def test_a_broken_image_is_a_row_with_its_error(converted: Converted, image: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8 not a JPEG")
    paths = [image, broken, tmp_path / "none.png", image]
    found = Predictor(converted("detector"), batch=4)({"path": paths, "id": [7, 8, 9, 10]})
    assert list(found["id"]) == [7, 8, 9, 10]
    assert [bool(text) for text in found["error"]] == [False, True, True, False]
    assert "broken.jpg" in found["error"][1]
    assert "not found" in found["error"][2]
    assert list(found["prediction"][1:3]) == ["", ""]
    assert found["prediction"][0] == found["prediction"][3] != ""
    assert list(found["height"]) == [96, 0, 0, 96]


@pytest.mark.parametrize(
    ("column", "value"), [("bytes", None), ("bytes", 5), ("path", None), ("path", b"a.jpg"), ("image", None)]
)
def test_a_missing_value_is_a_row_with_its_error(converted: Converted, image: Path, column: str, value: Any) -> None:
    from adaptrt.vision.images import read_image

    good = {"bytes": image.read_bytes(), "path": str(image), "image": read_image(image)}[column]
    found = Predictor(converted("detector"))({column: [value, good]})
    assert type(value).__name__ in found["error"][0]
    assert found["error"][1] == ""


def test_it_opens_in_the_worker(converted: Converted, image: Path) -> None:
    """The constructor reads nothing; an open model is not pickled; another process gives the same results."""
    model = converted("detector")
    assert Predictor("none.onnx").path == "none.onnx"
    with pytest.raises(ModelError, match="none.onnx"):
        Predictor("none.onnx")({"path": [image]})
    predictor = Predictor(model, params={"conf": 0.3}, threads=1)
    expected = predictor({"path": [str(image)]})
    program = (
        "import pickle, sys\n"
        "predictor = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        "assert 'onnxruntime' not in sys.modules\n"
        "print(predictor({'path': [sys.argv[2]]})['prediction'][0])\n"
        "assert 'torch' not in sys.modules\n"
    )
    command = [sys.executable, "-c", program, pickle.dumps(predictor).hex(), str(image)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(expected["prediction"][0])
    assert len(json.loads(done.stdout)["detections"]) > len(
        json.loads(Predictor(model)({"path": [image]})["prediction"][0])["detections"]
    )


def test_invalid_use_is_named(converted: Converted) -> None:
    with pytest.raises(UsageError, match="batch must be at least 1"):
        Predictor("x.onnx", batch=0)
    with pytest.raises(UsageError, match="no column image, bytes or path") as caught:
        Predictor(converted("detector"))({"img": []})
    assert caught.value.hint == "Its columns are: img."
    with pytest.raises(UsageError, match="conf must be between 0 and 1") as caught:
        Predictor(converted("detector"), params={"conf": 2})({"image": [np.zeros((8, 8, 3), np.uint8)]})
    assert caught.value.hint == 'For example: params={"conf": 0.5}'


def test_arrays_are_written_whole() -> None:
    from adaptrt.specs import task_named

    values = Values({"y": np.array([[0.1, 1e-8]], np.float32)})
    row = json.loads(json.dumps(task_named("values").row(values)))
    np.testing.assert_array_equal(np.array(row["values"]["y"], np.float32), values.arrays["y"])
