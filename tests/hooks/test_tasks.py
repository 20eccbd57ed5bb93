"""A task that an installed distribution brings is drawn, compared, recorded, exported and scored; core has no line for it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adaptrt
from adaptrt import PluginError, UsageError, VerificationError
from adaptrt.cli.boundary import run
from adaptrt.cli.main import cli
from adaptrt.evaluation import evaluate
from adaptrt.evaluation.files import Drawer
from adaptrt.report import Report
from adaptrt.specs import task_named

NUMBERS = itertools.count()
MODULE = """
import json
from dataclasses import dataclass

from adaptrt import (
    Dataset, Decoder, DecoderSpec, Example, ImageTransform, InputSpec, Metric, ModelSpec, Scoring, Task, hookimpl,
)

@dataclass(frozen=True)
class Brightness:
    value: float  # 0 to 1

class Errors:
    def __init__(self):
        self.errors, self.found = [], []

    def add(self, truth, prediction):
        self.errors.append(abs(truth - prediction.value))
        self.found.append({"truth": truth, "value": prediction.value})

    def scores(self):
        return {"1 - error": 1 - sum(self.errors) / max(len(self.errors), 1)}

    def per_class(self):
        return {}

    def records(self):
        return self.found

class BrightnessScoring(Scoring):
    layout = "values.json, brightness by file name"

    def read_dataset(self, data, spec, images):
        truths = json.loads((data / "values.json").read_text())
        return Dataset(tuple(Example(data / name, truth) for name, truth in truths.items()))

    def scorer(self, spec, dataset):
        return Errors()

def closeness(reference, converted):
    return 1 - max(abs(a.value - b.value) for a, b in zip(reference, converted))

class BrightnessTask(Task[Brightness]):
    name = "brightness"
    prediction = Brightness
    scoring = BrightnessScoring()

    def describe(self, prediction):
        return f"brightness {prediction.value:.2f}"

    def draw(self, image, prediction):
        drawn = image.copy()
        drawn[: max(1, round(len(image) * prediction.value))] = (255, 200, 0)
        return drawn

    def record(self, prediction):
        return {"value": prediction.value}

    def read_record(self, record):
        return Brightness(float(record["value"]))

    def metrics(self, spec, precision):
        return [Metric(name="same brightness", task="brightness", reason="it is a mean", compute=closeness, minimum=0.999)]

    def agreement(self, expected, actual):
        return f"within {abs(expected.value - actual.value):.4f}"

task = BrightnessTask()

@dataclass(frozen=True)
class Params:
    gain: float = 1.0

def decode(outputs, metas, spec, params):
    (means,) = outputs.values()
    return [Brightness(float(mean) * params.gain) for mean in means.ravel()]

decoder = Decoder("{decoder}", Params, decode)

@hookimpl
def load_model():
    import torch

    class Mean(torch.nn.Module):
        def forward(self, images):
            return images.mean((1, 2, 3))

    return Mean().eval()

@hookimpl
def model_spec():
    return ModelSpec(
        inputs=(InputSpec.image(8, 8),), task="{task}", image=ImageTransform(resize="stretch"),
        decoder=DecoderSpec("{decoder}"),
    )

@hookimpl
def framework_predictions(image):
    from PIL import Image
    import numpy as np

    return Brightness(float(np.asarray(Image.open(image).convert("RGB")).mean()) / 255 + {off})
"""


@pytest.fixture
def glow(tiny: str, fake_distribution: Callable[..., Path]) -> Callable[..., None]:
    """Install adapter ``glow`` with a decoder and the task ``brightness``."""

    def install(*, task: str = "brightness", off: float = 0.0, more: str = "") -> None:
        decoder = f"brightness{next(NUMBERS)}"  # decoders are kept by name, and this module is a new one in each test
        groups = {
            "adaptrt.adapters": {"glow": "adaptrt_glow"},
            "adaptrt.decoders": {decoder: "adaptrt_glow:decoder"},
            "adaptrt.tasks": {"brightness": "adaptrt_glow:task"},
        }
        source = MODULE.replace("{decoder}", decoder).replace("{task}", task).replace("{off}", str(off))
        source = source.replace("task = BrightnessTask()", f"{more}\ntask = BrightnessTask()")
        fake_distribution("adaptrt-glow", groups, modules={"adaptrt_glow": source})

    return install


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """An image of one color: every way to resize it agrees."""
    from adaptrt.vision.images import write_image

    return write_image(tmp_path / "plain.png", np.full((40, 40, 3), 102, np.uint8))


def convert(image: Path) -> Report:
    return adaptrt.convert("mean", adapter="glow", image=image, verify="quick", output="glow.onnx", cache=False)


def test_it_is_compared_recorded_and_drawn(glow: Callable[..., None], plain: Path) -> None:
    glow()
    report = convert(plain)
    assert {link.number: link.status for link in report.links if link.number in (0, 5)} == {0: "passed", 5: "passed"}
    assert report.link(5).checks[0].name == "same brightness"
    written = Report.from_json(Path("glow.report.json").read_bytes())
    assert {one.found for one in written.images[0].predictions.values()} == {"brightness 0.40"}
    page = Path("glow.report.html").read_text()
    assert page.count("data:image/jpeg") == 3  # the framework's, eager, ONNX Runtime
    assert "within 0.000" in page


def test_a_difference_fails_its_link(glow: Callable[..., None], plain: Path) -> None:
    glow(off=0.02)
    with pytest.raises(VerificationError, match=r"Link 0 .* fails: same brightness 0.98"):
        convert(plain)


def test_it_is_predicted_exported_and_scored(
    glow: Callable[..., None], plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from adaptrt.vision.images import read_image

    glow()
    convert(plain)
    capsys.readouterr()
    assert run(cli, ["predict", "glow.onnx", str(plain), "--save", "json"], "adaptrt") == 0
    assert "brightness 0.40" in capsys.readouterr().out
    assert (read_image("predictions/plain.png")[:16] == (255, 200, 0)).all()
    with adaptrt.load("glow.onnx") as model:
        (frame,) = model.predict(str(plain))
        assert (frame.plot()[:16] == (255, 200, 0)).all()
    assert run(cli, ["evaluate", "--help"], "adaptrt") == 0
    assert "brightness: values.json, brightness by file name." in " ".join(capsys.readouterr().out.split())
    assert json.loads(Path("predictions/json/predictions.json").read_text())[0]["found"] == "brightness 0.40"
    Path("data").mkdir()
    plain.rename("data/plain.png")
    Path("data/values.json").write_text(json.dumps({"plain.png": 0.5}))
    drawer = Drawer(Path("shown"), 0.3)
    drawer.prepare()
    records: list[Any] = []
    found = evaluate(["glow.onnx"], "data", on_prediction=drawer, on_records=lambda _, rows: records.extend(rows))
    assert found.results[0].scores["1 - error"] == pytest.approx(0.9, abs=1e-3)
    assert (read_image("shown/glow.onnxruntime/plain.jpg")[2:10, 2:-2] > (230, 170, 0)).all()
    assert records[0]["value"] == pytest.approx(0.4, abs=1e-3)


def test_a_wrong_result_of_a_task_names_its_distribution(glow: Callable[..., None], plain: Path) -> None:
    glow(more="    def describe(self, prediction):\n        print(prediction)")
    with pytest.raises(PluginError, match=r"adaptrt-glow: BrightnessTask\.describe must return a string; got None"):
        convert(plain)


def test_a_task_that_no_one_brings(glow: Callable[..., None], plain: Path) -> None:
    glow(task="brigthness")
    with pytest.raises(PluginError, match="an unknown task, 'brigthness'") as caught:
        convert(plain)
    assert "Did you mean 'brightness'" in (caught.value.hint or "")


def test_a_file_whose_task_is_not_installed_here(glow: Callable[..., None], plain: Path) -> None:
    glow()
    convert(plain)
    spec = adaptrt.load("glow.onnx").spec
    assert spec.task == "brightness"
    assert (
        adaptrt.ModelSpec.from_json(spec.to_json().replace('"brightness"', '"glow"')).task == "glow"
    )  # a file is read
    with pytest.raises(UsageError, match="Unknown task 'glow'"):
        task_named("glow")
