"""A real Triton server answers with what ``adaptrt predict`` finds.

The server is that of the wheel ``nvidia-pytriton``, in an environment of its own: its Python backend needs numpy below 2. It has
no backends for TensorRT and ONNX Runtime, so the network runs in the Python backend.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from triton_server import TritonEnvironment, make_environment, running_server, unsupported

pytestmark = pytest.mark.full
FIXTURES = Path(__file__).parents[2] / "fixtures"
CLIENT = Path(__file__).parents[2] / "support" / "triton_client.py"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> TritonEnvironment:
    """Without a network these tests are skipped, but not in CI."""
    if reason := unsupported():
        pytest.skip(reason)
    try:
        return make_environment(tmp_path_factory.mktemp("triton"))
    except RuntimeError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    command = [sys.executable, str(FIXTURES / "draw_shapes.py"), str(folder), "--count", "4", "--seed", "7"]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "images"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("adaptrt_ultralytics", reason="the trained model is a YOLOv5")
    import adaptrt

    folder = tmp_path_factory.mktemp("model")
    source = FIXTURES / "yolov5n_shapes.pt"
    for name, embedded in (("best.onnx", False), ("pixels.onnx", True)):
        adaptrt.convert(
            source, adapter="yolov5", imgsz=320, batch="1:8", verify="none", to="onnx", output=folder / name, embed_preprocess=embedded
        )  # fmt: skip
    return folder / "best.onnx"


@pytest.fixture(scope="module")
def answers(environment: TritonEnvironment, images: Path, model: Path) -> Iterator[dict[str, Any]]:
    """What the client program got from the server, and the log of the server."""
    repository = model.parent / "repository"
    for file in (model, model.with_name("pixels.onnx")):
        words = ["package", "triton", file, "-o", repository, "--ensemble", "--network-backend", "python"]
        words += ["--max-queue-delay", "100ms", "--image", images / "000000.jpg"]
        subprocess.run([sys.executable, "-m", "adaptrt", *map(str, words)], check=True, capture_output=True)
    with running_server(environment, repository) as server:
        command = [environment.python, CLIENT, server.http, server.grpc, *sorted(map(str, images.iterdir()))]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr + server.log()
        yield {**json.loads(done.stdout), "log": server.log()}


@pytest.fixture(scope="module")
def predicted(images: Path, model: Path) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "adaptrt", "predict", str(model), str(images), "--json"]
    rows = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["images"]
    return [{key: row[key] for key in ("height", "width", "detections")} for row in rows]


def close(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    """The same objects; the versions of ONNX Runtime and OpenCV differ, so numbers agree to rounding."""
    if len(found) != len(expected):
        return False
    for one, other in zip(found, expected, strict=True):
        if (one["height"], one["width"]) != (other["height"], other["width"]):
            return False
        if [row["label"] for row in one["detections"]] != [row["label"] for row in other["detections"]]:
            return False
        for mine, theirs in zip(one["detections"], other["detections"], strict=True):
            if mine["score"] != pytest.approx(theirs["score"], abs=1e-4):
                return False
            if mine["box"] != pytest.approx(theirs["box"], abs=0.01):
                return False
    return True


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_single_images_and_batches(answers: dict[str, Any], predicted: list[dict[str, Any]], protocol: str) -> None:
    assert any(row["detections"] for row in predicted)
    assert close(answers[protocol]["alone"], predicted)
    assert close(answers[protocol]["together"], predicted)


def test_the_body_may_be_the_image_alone(answers: dict[str, Any], predicted: list[dict[str, Any]]) -> None:
    assert close([answers["raw"]], predicted[:1])


def test_requests_are_joined(answers: dict[str, Any], predicted: list[dict[str, Any]]) -> None:
    assert close(answers["concurrent"], predicted * 8)
    assert answers["executions"] < answers["requests"]
    assert max(answers["batch_sizes"]) > 1


def test_preprocessing_inside_the_graph(answers: dict[str, Any], predicted: list[dict[str, Any]]) -> None:
    """``--embed-preprocess``: between the models of the ensemble, images are uint8 [H, W, C]."""
    assert close(answers["pixels"], predicted)


def test_a_broken_image_is_the_error_of_its_request(answers: dict[str, Any]) -> None:
    assert "not an image" in answers["broken"]


def test_the_warmup_ran(answers: dict[str, Any]) -> None:
    assert not [line for line in answers["log"].splitlines() if "warm" in line.lower() and "failed" in line]
    parts = ("", "_network", "_postprocessing", "_preprocessing")
    assert answers["ready"] == [f"{name}{part}" for name in ("best", "pixels") for part in parts]


def test_the_message_is_that_of_tritonclient(environment: TritonEnvironment) -> None:
    program = (
        "import sys\nfrom tritonclient.grpc import model_config_pb2\n"
        "sys.stdout.buffer.write(model_config_pb2.DESCRIPTOR.serialized_pb)"
    )
    done = subprocess.run([str(environment.python), "-c", program], check=True, capture_output=True)
    assert done.stdout == (FIXTURES / "triton_model_config.binpb").read_bytes()
