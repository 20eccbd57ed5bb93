from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from narrow_detr import CONFIG, FIXTURE

from adaptrt import Conversion, ModelError, Request, UsageError
from adaptrt_mmdet.configs import find_config, load_config, without_downloads
from adaptrt_mmdet.options import DetrOptions, OneAndTwoStageOptions


@pytest.mark.parametrize(
    "name", ["detr_r50_8xb2-150e_coco", "detr_r50_8xb2-150e_coco.py", "mmdet::detr/detr_r50_8xb2-150e_coco.py"]
)
def test_a_config_of_the_wheel_by_name(name: str) -> None:
    assert find_config(name).parent.name == "detr"


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(ModelError, match=r"Did you mean 'detr_r50_8xb2-150e_coco'\?"):
        find_config("detr_r50_8xb2-150e_coc")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("model.bbox_head.num_classes", "3", 3),
        ("model.test_cfg", "None", None),
        ("model.data_preprocessor.mean", "[1,2,3.5]", [1, 2, 3.5]),
        ("model.backbone.strides", "(1,2,2,2)", (1, 2, 2, 2)),
        ("model.backbone.norm_eval", "true", True),
        ("model.train_cfg.assigner.match_costs.0.weight", "2.5", 2.5),
        ("model.backbone.style", "caffe", "caffe"),
    ],
)
def test_overrides_in_mmengines_syntax(key: str, text: str, value: Any) -> None:
    config = load_config(str(CONFIG), {key: text})
    found: Any = config
    for part in key.split("."):
        found = found[int(part)] if isinstance(found, list) else found[part]
    assert found == value


def test_an_override_of_an_unknown_key_is_reported() -> None:
    with pytest.raises(UsageError, match="Did you mean 'bbox_head'"):
        load_config(str(CONFIG), {"model.bbox_haed.num_classes": "3"})
    with pytest.raises(UsageError, match="has no '9'"):
        load_config(str(CONFIG), {"model.train_cfg.assigner.match_costs.9.weight": "3"})


def test_configs_that_are_none(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("model = dict(type='DETR'\n")
    with pytest.raises(ModelError, match="broken.py cannot be read"):
        load_config(str(broken), {})
    empty = tmp_path / "empty.py"
    empty.write_text("batch = 3\n")
    with pytest.raises(ModelError, match="does not define a model"):
        load_config(str(empty), {})


@pytest.mark.parametrize("pkg_resources", ["as it is", "missing"])
def test_configs_inherit_from_mmdets(pkg_resources: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """mmengine wants ``pkg_resources`` for it, which newer versions of setuptools do not have."""
    find = importlib.util.find_spec
    if pkg_resources == "missing":
        monkeypatch.setitem(sys.modules, "pkg_resources", None)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pkg_resources" else find(name))
    elif find("pkg_resources") is None:
        pytest.skip("setuptools is 82 or later")
    path = tmp_path / "mine.py"
    path.write_text("_base_ = 'mmdet::detr/detr_r50_8xb2-150e_coco.py'\nmodel = dict(bbox_head=dict(num_classes=3))\n")
    config = load_config(str(path), {})
    assert config.model.bbox_head.num_classes == 3
    assert config.model.num_queries == 100


def test_a_base_that_is_not_installed(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("_base_ = 'mmnothing::detr/detr.py'\n")
    with pytest.raises(ModelError, match="mine.py cannot be read") as caught:
        load_config(str(path), {})
    assert "check its base configs" in str(caught.value)


def test_nothing_is_downloaded() -> None:
    pretrained = {"type": "Pretrained", "checkpoint": "torchvision://resnet50"}
    model = {
        "backbone": {"init_cfg": pretrained, "stages": [{"init_cfg": [pretrained, {"type": "Kaiming"}]}]},
        "pretrained": "torchvision://resnet50",
        "neck": {"init_cfg": {"type": "Xavier"}, "pvt": {"init_cfg": {"checkpoint": "https://a.org/pvt.pth"}}},
    }
    cleaned = without_downloads(model)
    assert cleaned == {
        "backbone": {"init_cfg": None, "stages": [{"init_cfg": [{"type": "Kaiming"}]}]},
        "neck": {"init_cfg": {"type": "Xavier"}, "pvt": {"init_cfg": None}},
    }
    assert model["pretrained"], "the config itself stays as it is"


def test_a_teacher_is_not_downloaded() -> None:
    """Distilled detectors load its weights in their constructor."""
    import torch
    from mmengine.runner import load_checkpoint

    from adaptrt_mmdet.build import quiet, without_remote_weights

    with quiet(), without_remote_weights(), pytest.raises(ModelError, match="loads weights from https://a.org/t.pth"):
        load_checkpoint(torch.nn.Identity(), "https://a.org/t.pth")


@pytest.mark.full
@pytest.mark.parametrize("weights", [None, FIXTURE])
def test_random_weights_cause_a_warning(weights: Path | None, tmp_path: Path) -> None:
    """A config alone is a network that has learned nothing; its numbers agree all the same."""
    from adaptrt_mmdet import detr

    said: list[str] = []
    ctx = Conversion(Request(str(CONFIG), "detr", weights=weights), DetrOptions(), tmp_path, warn=said.append)
    detr.model_spec(ctx, detr.load_model(ctx))
    assert [text.startswith(f"{CONFIG} has random weights") for text in said] == [True] * (weights is None)


def test_random_weights_of_a_one_stage_detector_cause_a_warning(tmp_path: Path) -> None:
    from adaptrt_mmdet import mmdet

    said: list[str] = []
    ctx = Conversion(
        Request("rtmdet_tiny_8xb32-300e_coco", "mmdet"), OneAndTwoStageOptions(), tmp_path, warn=said.append
    )
    mmdet.model_spec(ctx, mmdet.load_model(ctx))
    assert len(said) == 1
    assert "--weights" in said[0]


NECK = """
from mmdet.models.necks import CSPNeXtPAFPN
from mmdet.registry import MODELS


@MODELS.register_module()
class ShopNeck(CSPNeXtPAFPN):
    pass
"""


@pytest.mark.full
def test_custom_imports_beside_the_config(tmp_path: Path) -> None:
    """In a process of its own: mmcv's compiled part is stood in for before the user's code asks for it."""
    package = tmp_path / "shopnet"
    package.mkdir()
    (package / "__init__.py").write_text(NECK)
    (tmp_path / "shop.py").write_text(
        "_base_ = 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'\n"
        "custom_imports = dict(imports=['shopnet'])\n"
        "model = dict(neck=dict(type='ShopNeck'))\n"
    )
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from adaptrt import Conversion, Request\n"
        "from adaptrt_mmdet import mmdet\n"
        "from adaptrt_mmdet.options import OneAndTwoStageOptions\n"
        "ctx = Conversion(Request(sys.argv[1], 'mmdet'), OneAndTwoStageOptions(), Path())\n"
        "print('NECK', type(mmdet.load_model(ctx).detector.neck).__name__, len(ctx.notes))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "shop.py")],
        capture_output=True,
        text=True,
        check=False,
        cwd=package,
    )
    assert "NECK ShopNeck 1" in done.stdout, done.stderr


def test_the_first_cause_is_shown(tmp_path: Path) -> None:
    (tmp_path / "brokennet.py").write_text("import surely_not_installed\n")
    (tmp_path / "broken.py").write_text(
        "_base_ = 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'\ncustom_imports = dict(imports=['brokennet'])\n"
    )
    with pytest.raises(ModelError, match="No module named 'surely_not_installed'") as caught:
        load_config(str(tmp_path / "broken.py"), {})
    assert str(tmp_path) in str(caught.value.hint)


@pytest.mark.full
def test_activations_of_random_weights_stay_in_range(tmp_path: Path) -> None:
    """YOLOv3's 72 batch norms let them grow to 1e35 with untrained statistics; link 2 compared infinite numbers."""
    import torch

    from adaptrt_mmdet import mmdet

    said: list[str] = []
    ctx = Conversion(
        Request("yolov3_d53_8xb8-ms-608-273e_coco", "mmdet"), OneAndTwoStageOptions(), tmp_path, warn=said.append
    )
    model = mmdet.load_model(ctx)
    mmdet.model_spec(ctx, model)
    with torch.inference_mode():
        boxes, _ = model(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)))
    assert boxes.isfinite().all()
    assert boxes.abs().max() < 1e4
    assert "batch-norm statistics taken from noise" in said[0]
