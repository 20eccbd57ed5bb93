"""What a checkpoint or the current folder says about a network is never evaluated; what Ultralytics writes is read."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("ultralytics", reason="needs the package ultralytics")
from torch import nn  # noqa: E402
from ultralytics.nn.modules.conv import Conv  # noqa: E402
from ultralytics.nn.tasks import DetectionModel, yaml_model_load  # noqa: E402

import adaptrt  # noqa: E402
from adaptrt import CheckpointError, Conversion, ModelSpec, Request  # noqa: E402
from adaptrt_ultralytics import yolo  # noqa: E402
from adaptrt_ultralytics.rebuild import load_new_family  # noqa: E402

EVIL = "__import__('pathlib').Path('pwned').touch()"
CONFIG = {"nc": 2, **{key: value for key, value in yaml_model_load("yolov8n.yaml").items() if key != "nc"}}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def saved(model: Any, **more: Any) -> Path:
    path = Path("best.pt")
    torch.save({"epoch": -1, "model": copy.deepcopy(model).half(), "ema": None, "train_args": {}, **more}, path)
    return path


def converted_by_hand(path: Path) -> ModelSpec:
    """Every step that reads the checkpoint, Ultralytics' own prediction included."""
    from adaptrt.vision.images import write_image

    write_image(Path("one.png"), np.full((64, 64, 3), 80, np.uint8))
    ctx = Conversion(Request(str(path), "yolo"), None, Path())
    spec = yolo.model_spec(ctx, yolo.load_model(ctx))
    yolo.framework_predictions(ctx, Path("one.png"), spec)
    return spec


@pytest.mark.parametrize(
    ("name", "planted"),
    [
        ("yolov8n", "yolov8n.yaml"),
        ("yolov8n", "yolov8.yaml"),
        ("yolov8n.yaml", "yolov8.yaml"),
        ("yolov5nu", "yolov5n.yaml"),
        ("yolov5n6u", "yolov5-p6.yaml"),
    ],
)
def test_a_config_in_the_current_folder(name: str, planted: str) -> None:
    """Ultralytics looks there first when it is given a name, and evaluates what it finds."""
    Path(planted).write_text(f"nc: 80\nactivation: {EVIL}\nbackbone: [[-1, 1, Conv, [64, 3, 2]]]\nhead: []\n")
    load_new_family(name)
    assert not Path("pwned").exists()


def test_the_expression_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the test above would prove nothing: this is what Ultralytics does with such a config."""
    monkeypatch.setattr(Conv, "default_act", Conv.default_act)  # left behind changed by a config that fails
    with pytest.raises(TypeError, match="not callable"):
        DetectionModel({**CONFIG, "activation": EVIL}, verbose=False)
    assert Path("pwned").exists()


@pytest.mark.parametrize(
    "entry",
    [
        {"activation": EVIL},
        {"backbone": [[-1, 1, "torchvision.ops.Conv2dNormActivation", [EVIL]], [-1, EVIL, "os.system", [EVIL]]]},
        *(
            pytest.param(entry, marks=pytest.mark.full)
            for entry in (
                {"act": EVIL},
                {"scale": EVIL},
                {"scales": {EVIL: [1, 1, 1024]}},
                {"yaml_file": f"{EVIL}.yaml"},
                {"head": [[-1, 1, "nn.__builtins__", [EVIL]]]},
                {"channels": 3, "nc": EVIL},
            )
        ),
    ],
)
def test_a_config_inside_a_checkpoint(entry: dict[str, Any]) -> None:
    model = DetectionModel(copy.deepcopy(CONFIG), verbose=False)
    model.yaml.update(entry)
    assert converted_by_hand(saved(model)).labels == ("0", "1")
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        {"model": EVIL, "data": EVIL, "cfg": "planted.yaml", "pretrained": "bomb.pt", "tracker": EVIL},
        {"task": EVIL, "mode": EVIL, "imgsz": 64, "device": EVIL, "optimizer": EVIL, "source": EVIL},
        {"augmentations": EVIL, "imgsz": [64, 64], "compile": True, "plots": True, "save_dir": "written"},
    ],
)
def test_train_args(arguments: dict[str, Any]) -> None:
    model = DetectionModel(copy.deepcopy(CONFIG), verbose=False)
    converted_by_hand(saved(model, train_args=arguments))
    assert not Path("pwned").exists()
    assert not Path("written").exists()


def _shared(value: Any, levels: int, width: int = 40) -> Any:
    """Few bytes in a pickle, and more items than anybody can count."""
    for _ in range(levels):
        value = [value] * width
    return value


def test_containers_that_hold_the_same_again_and_again_take_no_time() -> None:
    model = DetectionModel(copy.deepcopy(CONFIG), verbose=False)
    model.hyp = _shared(0, 7)
    converted_by_hand(saved(model, train_args={"note": _shared(0, 7)}))
    model.model[0].note = _shared(0, 7)
    with pytest.raises(CheckpointError, match="its note is list, which is not data"):
        converted_by_hand(saved(model))
    del model.model[0].note
    model.model[0].conv.kernel_size = (_shared(0, 7), 3)
    with pytest.raises(CheckpointError, match="kernel_size"):
        converted_by_hand(saved(model))


def test_layers_that_hold_the_same_again_and_again_take_no_time() -> None:
    model = DetectionModel(copy.deepcopy(CONFIG), verbose=False)
    layers: nn.Module = nn.Identity()
    for _ in range(30):
        layers = nn.Sequential(layers, layers)
    model.model[0].act = layers
    with pytest.raises(CheckpointError, match="more than 100000 layers"):
        converted_by_hand(saved(model))


def test_names_and_attributes() -> None:
    model = DetectionModel(copy.deepcopy(CONFIG), verbose=False)
    model.names = {0: EVIL, 1: "{__import__('os')}"}
    for layer in model.model:
        layer.type = EVIL
    model.pt_path, model.task, model.criterion = "bomb.pt", EVIL, EVIL
    spec = converted_by_hand(saved(model))
    assert spec.labels == (EVIL, "{__import__('os')}")
    assert not Path("pwned").exists()


# those that Ultralytics' documentation and configs use, and their kin
ACTIVATIONS = """
nn.SiLU() torch.nn.ReLU() nn.LeakyReLU(0.1) nn.Hardswish() nn.Mish() nn.GELU() nn.ELU() nn.SELU() nn.CELU(0.5)
nn.ReLU6() nn.Identity() nn.Sigmoid() nn.Tanh() nn.Hardtanh() nn.Softplus() nn.Softsign() nn.PReLU()
"""
EVERYDAY = ("torch.nn.ReLU()", "nn.LeakyReLU(0.1)", "nn.PReLU()")  # without a number, with one, with a weight


@pytest.mark.parametrize(
    "activation",
    [pytest.param(one, marks=() if one in EVERYDAY else pytest.mark.full) for one in ACTIVATIONS.split()],
)
def test_activations_that_ultralytics_saves(activation: str) -> None:
    model = DetectionModel({**copy.deepcopy(CONFIG), "activation": activation}, verbose=False).eval()
    loaded = load_new_family(saved(model))
    assert type(loaded.model[0].act) is type(model.model[0].act)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(loaded(images)[0], model.half().float()(images)[0], atol=1e-4)


def test_a_checkpoint_of_ultralytics_converts() -> None:
    """Saved by ``YOLO.save``, with an activation of its own, and converted without trust."""
    from ultralytics import YOLO

    Path("custom.yaml").write_text(
        Path(yolo_config("v8", "yolov8.yaml")).read_text() + "\nactivation: nn.LeakyReLU(0.1)\n"
    )
    YOLO("custom.yaml", task="detect").save("mine.pt")
    report = adaptrt.convert("mine.pt", adapter="yolo", imgsz=64, batch=2, verify="none", html=False, cache=False)
    assert report.status == "passed"
    assert isinstance(load_new_family("mine.pt").model[0].act, nn.LeakyReLU)


def yolo_config(*parts: str) -> Path:
    import ultralytics

    return Path(ultralytics.__file__).parent.joinpath("cfg", "models", *parts)


def test_a_classic_checkpoint(classic: Any) -> None:
    """The repository of that family evaluates the strings of its yaml; here it is kept as data, or dropped."""
    from adaptrt_ultralytics.classic.model import load_classic

    model = classic.network()
    model.yaml = {"nc": 3, "activation": EVIL, "backbone": [[-1, EVIL, EVIL, [EVIL]]], "anchors": EVIL}
    model.names = [EVIL, "b", "c"]
    loaded = load_classic(classic.save({**classic.as_trained(model), "opt": {"cfg": EVIL}, "git": EVIL}))
    assert loaded.names[0] == EVIL
    assert not Path("pwned").exists()


@pytest.mark.full
def test_ultralytics_installs_nothing() -> None:
    """It reads the variable when it is imported, which loading a checkpoint does."""
    program = "import adaptrt_ultralytics.load, ultralytics.utils as utils; print(utils.AUTOINSTALL)"
    environment = {key: value for key, value in os.environ.items() if key != "YOLO_AUTOINSTALL"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "False"
