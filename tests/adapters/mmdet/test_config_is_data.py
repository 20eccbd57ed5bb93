"""A config in a checkpoint names nothing that runs, imports or opens a file: a canary says so."""

from __future__ import annotations

import ast
import copy
import json
import pickle
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from narrow_detr import CONFIG, NARROW

from adaptrt import AdaptrtError, CheckpointError, Conversion, Request, UsageError
from adaptrt_mmdet import detr, mmdet
from adaptrt_mmdet.build import build_detector
from adaptrt_mmdet.configs import load_config
from adaptrt_mmdet.framework import predict
from adaptrt_mmdet.options import DetrOptions, OneAndTwoStageOptions
from adaptrt_mmdet.registered import LAYERS, READERS, _within, registered_values
from adaptrt_mmdet.sources import open_source

Save = Callable[[str], Path]


@pytest.fixture(scope="module")
def narrow() -> dict[str, Any]:
    values: dict[str, Any] = load_config(str(CONFIG), {**NARROW, "model.test_cfg.max_per_img": "5"}).to_dict()
    return values


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return dict(build_detector(load_config(str(CONFIG), NARROW), None).state_dict())


@pytest.fixture
def save(tmp_path: Path, weights: dict[str, torch.Tensor]) -> Save:
    def save(text: str) -> Path:
        torch.save({"meta": {"cfg": text}, "state_dict": weights}, tmp_path / "file.pth")
        return tmp_path / "file.pth"

    return save


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that appears when ``canary_module`` is imported, when canary.py is run or canary.pkl is unpickled."""
    tripped = tmp_path / "tripped"
    line = f"open({str(tripped)!r}, 'w').close()\n"
    for name in ("canary_module", "canary"):
        (tmp_path / f"{name}.py").write_text(line + "def call(*args, **kwargs): pass\nmodel = dict(type='DETR')\n")
    (tmp_path / "canary_package").mkdir()
    (tmp_path / "canary_package" / "__init__.py").write_text("")
    (tmp_path / "canary_package" / "registry.py").write_text(line)
    (tmp_path / "backend").mkdir()
    (tmp_path / "backend" / "mc.py").write_text(line)  # what mmengine's backend for memcached imports

    class Hazard:
        def __reduce__(self) -> Any:
            return (open, (str(tripped), "w"))

    (tmp_path / "canary.pkl").write_bytes(pickle.dumps(Hazard()))
    torch.save(Hazard(), tmp_path / "canary.pth")
    for name in ("canary_module", "canary", "canary_package", "canary_package.registry", "mc"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tripped


def text_of(values: dict[str, Any]) -> str:
    return "\n".join(f"{name} = {value!r}" for name, value in values.items())


def changed(values: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    values = copy.deepcopy(values)
    place: Any = values
    *parts, last = path.split(".")
    for part in parts:
        place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
    if isinstance(place, list):
        place[int(last)] = value
    else:
        place[last] = value
    return values


def convert(adapter: Any, path: Path, folder: Path, *, trust: bool = False) -> None:
    """What a conversion does with a config: the model, its spec, and mmdet's own way from image to boxes."""
    import cv2
    import numpy as np

    options = DetrOptions() if adapter is detr else OneAndTwoStageOptions()
    ctx = Conversion(Request(str(path), "detr", trust_checkpoint=trust), options, folder, warn=print)
    model = adapter.load_model(ctx)
    adapter.model_spec(ctx, model)
    cv2.imwrite(str(folder / "image.png"), np.zeros((64, 64, 3), np.uint8))
    predict(open_source(ctx), [folder / "image.png"], (64, 64), stretch=True)


POPEN = {"type": "subprocess.Popen", "args": ["touch", "tripped"]}
CALL = {"type": "canary_module.call"}
HOSTILE: dict[str, tuple[str, Any]] = {
    "the model": ("model", POPEN),
    "a module without a dot": ("model.neck", {"type": "canary_module"}),
    "a backbone": ("model.backbone", CALL),
    "a backbone's norm": ("model.backbone.norm_cfg", CALL),
    "a convolution": ("model.backbone.conv_cfg", CALL),
    "an activation": ("model.neck.act_cfg", CALL),
    "a plugin": ("model.backbone.plugins", [{"cfg": CALL, "position": "after_conv1"}]),
    "a loss": ("model.bbox_head.loss_cls", POPEN),
    "an assigner": ("model.train_cfg.assigner", POPEN),
    "a match cost": ("model.train_cfg.assigner.match_costs.0", POPEN),
    "the preprocessor": ("model.data_preprocessor", CALL),
    "a batch augmentation": ("model.data_preprocessor.batch_augments", [CALL]),
    "an initializer": ("model.backbone.init_cfg", POPEN),
    "a scope": ("model.neck._scope_", "canary_package"),
    "a scope in a type": ("model.neck.type", "canary_package.ChannelMapper"),
    "a scope of a step": ("test_pipeline.0._scope_", "canary_package"),
    "a code string as NMS": ("model.test_cfg.nms", {"type": "__import__('canary_module')"}),
    "a step of the pipeline": ("test_dataloader.dataset.pipeline.0", CALL),
    "a step inside a step": ("test_dataloader.dataset.pipeline.0", {"type": "Compose", "transforms": [CALL]}),
    "a step that hands on to another library": (
        "test_dataloader.dataset.pipeline.1",
        {"type": "Albu", "transforms": [{"type": "Resize"}]},
    ),
    "a data set": ("test_dataloader.dataset.type", "canary_module.call"),
    "the type of data sets": ("dataset_type", "canary_module.call"),
    "a hook": ("custom_hooks", [CALL]),
    "a default hook": ("default_hooks.timer", CALL),
    "a runner": ("runner_type", "canary_module.call"),
    "an optimizer": ("optim_wrapper.optimizer", POPEN),
    "a visualizer": ("visualizer.vis_backends", [CALL]),
    "an import": ("custom_imports", {"imports": ["canary_module"], "allow_failed_imports": False}),
    "an import as a word": ("custom_imports", {"imports": "canary_module"}),
    "a base": ("_base_", "canary.py"),
    "a base of a part": ("model._base_", ["canary.py"]),
    "another detector's config": (
        "model",
        {
            "type": "KnowledgeDistillationSingleStageDetector",
            "teacher_config": "canary.py",
            "teacher_ckpt": "canary.pth",
        },
    ),
    "a teacher's weights": ("model", {"type": "LAD", "teacher_ckpt": "canary.pth"}),
    "a language model": ("model.neck", {"type": "BertModel", "name": "."}),
    "a detector of another library": ("model", {"type": "Detectron2Wrapper", "detector": {}}),
    "a tracker's code string": (
        "model.neck",
        {"type": "CameraMotionCompensation", "warp_mode": "__import__('canary_module')"},
    ),
    "a type that is no name": ("model.neck.type", ["subprocess.Popen"]),
    "a reserved name with a type": ("filename", POPEN),
    "a path into the framework": ("model.neck.type", "mmdet.utils.benchmark.subprocess.Popen"),
    "a function of torch": ("model.neck", {"type": "torch.load", "f": "canary.pth", "weights_only": False}),
    "a torch hub": (
        "model.backbone",
        {"type": "torch.hub.load", "repo_or_dir": ".", "model": "call", "source": "local"},
    ),
}


@pytest.mark.parametrize("adapter", [detr, mmdet], ids=["detr", "mmdet"])
@pytest.mark.parametrize("road", HOSTILE)
def test_a_config_in_a_checkpoint_runs_nothing(
    road: str, adapter: Any, narrow: dict[str, Any], save: Save, canary: Path, tmp_path: Path
) -> None:
    path, value = HOSTILE[road]
    with pytest.raises(CheckpointError) as caught:
        convert(adapter, save(text_of(changed(narrow, path, value))), tmp_path)
    assert not canary.exists()
    assert "--trust-checkpoint" in (caught.value.hint or "")
    assert ".py" in (caught.value.hint or "")


MEMCACHED = {"backend": "memcached", "server_list_cfg": "a", "client_cfg": "b", "sys_path": "backend"}
IGNORED: dict[str, tuple[str, Any]] = {
    "pretrained weights": ("model.backbone.init_cfg", {"type": "Pretrained", "checkpoint": "canary.pth"}),
    "weights by another name": ("model.backbone.init_cfg", {"type": "PretrainedInit", "checkpoint": "canary.pth"}),
    "mmdet 2's pretrained": ("model.backbone.pretrained", "canary.pth"),
    "load_from": ("load_from", "canary.pth"),
    "a file backend": ("test_dataloader.dataset.pipeline.0.backend_args", {"backend": "canary_module"}),
    "a file client": ("test_dataloader.dataset.pipeline.0.file_client_args", {"backend": "canary_module"}),
    "a file backend inside a step": (
        "test_dataloader.dataset.pipeline.0",
        {"type": "Compose", "transforms": [{"type": "LoadImageFromFile", "backend_args": MEMCACHED}]},
    ),
    "a file client inside a step": (
        "test_dataloader.dataset.pipeline.0",
        {"type": "Compose", "transforms": [{"type": "LoadImageFromFile", "file_client_args": MEMCACHED}]},
    ),
    "an annotation file": ("test_dataloader.dataset.ann_file", "canary.pkl"),
}


@pytest.mark.parametrize("road", IGNORED)
def test_what_a_config_would_open_is_left_alone(
    road: str, narrow: dict[str, Any], save: Save, canary: Path, tmp_path: Path
) -> None:
    path, value = IGNORED[road]
    convert(detr, save(text_of(changed(narrow, path, value))), tmp_path)
    assert not canary.exists()


def test_an_override_is_not_a_way_around(narrow: dict[str, Any], save: Save, canary: Path, tmp_path: Path) -> None:
    ctx = Conversion(
        Request(str(save(text_of(narrow))), "detr"),
        DetrOptions(cfg={"model.neck.type": "canary_module.call"}),
        tmp_path,
        warn=print,
    )
    with pytest.raises(UsageError, match=r"model\.neck\.type"):
        detr.load_model(ctx)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.neck.type", "canary_module.call"),
        ("model.neck", {"_delete_": True, **CALL}),
        ("model", {"_delete_": True, "type": "subprocess.Popen", "args": ["touch", "tripped"]}),
        ("model.train_cfg.assigner.match_costs.0.type", "canary_module.call"),
        ("model.test_cfg.nms.type", "__import__('canary_module')"),
        ("test_dataloader.dataset.pipeline.0.type", "canary_module.call"),
        ("test_dataloader.dataset.pipeline.0.backend_args", MEMCACHED),
        ("test_dataloader.dataset.pipeline.0", {"type": "LoadImageFromFile", "file_client_args": MEMCACHED}),
        ("test_pipeline", [CALL]),
    ],
)
def test_an_override_names_no_code_even_for_a_config_that_is_executed(key: str, value: Any, canary: Path) -> None:
    """The config may be one of mmdet's own, and the override come from a conversion file or the environment."""
    with pytest.raises(UsageError, match=rf"--set cfg\.{key}=.*names") as caught:
        load_config("detr_r50_8xb2-150e_coco", {key: value})
    assert caught.value.hint
    assert not canary.exists()


def test_trust_is_the_users_word(narrow: dict[str, Any], save: Save, canary: Path, tmp_path: Path) -> None:
    """With the flag the config is what mmengine makes of it: imports, and modules by their path."""
    values = changed(narrow, "custom_imports", {"imports": ["canary_module"]})
    convert(detr, save(text_of(values)), tmp_path, trust=True)
    assert canary.exists()


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml"])
def test_a_config_in_json_or_yaml_is_data(suffix: str, narrow: dict[str, Any], canary: Path, tmp_path: Path) -> None:
    path = tmp_path / f"config{suffix}"
    path.write_text(json.dumps(narrow))  # YAML reads it as well
    build_detector(load_config(str(path), {}), None)
    path.write_text(json.dumps(changed(narrow, "model.neck", CALL)))
    with pytest.raises(AdaptrtError, match="canary_module"):
        build_detector(load_config(str(path), {}), None)
    if suffix != ".json":
        path.write_text("model: !!python/object/apply:subprocess.Popen [[touch, tripped]]")
        with pytest.raises(AdaptrtError, match="cannot be read"):
            load_config(str(path), {})
    assert not canary.exists()


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(["a0: &a0 [x, x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12))]),
        "a: &a [*a]",
        "model: &a {type: RetinaNet, neck: *a}",
        "a: " + "[" * 150 + "]" * 150,
    ],
    ids=["laughs", "in itself", "a model in itself", "deep"],
)
def test_a_config_in_yaml_that_does_not_end(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(AdaptrtError, match="too deeply, or too large"):
        load_config(str(path), {})


def test_a_python_config_stays_the_users_code(narrow: dict[str, Any], canary: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("custom_imports = dict(imports=['canary_module'])\n" + text_of(narrow))
    build_detector(load_config(str(path), {}), None)
    assert canary.exists()


def test_names_that_mmengine_writes(narrow: dict[str, Any], save: Save, tmp_path: Path) -> None:
    """A scope, and the paths that configs in mmengine's lazy style are written with."""
    values = changed(narrow, "model.type", "mmdet.DETR")
    values = changed(values, "model.backbone.type", "mmdet.models.backbones.resnet.ResNet")
    values = changed(values, "model.backbone.norm_cfg.type", "torch.nn.modules.batchnorm.BatchNorm2d")
    values = changed(values, "test_dataloader.dataset.pipeline.0.type", "mmcv.transforms.loading.LoadImageFromFile")
    values = changed(values, "model.neck._scope_", "mmdet")
    values = changed(values, "optim_wrapper.optimizer.type", "torch.optim.adamw.AdamW")
    values = changed(values, "custom_imports", {"imports": ["mmdet.models"], "allow_failed_imports": False})
    convert(detr, save(text_of(values)), tmp_path)


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "adapter"),
    [
        pytest.param(str(CONFIG), detr, id="DETR"),
        pytest.param("retinanet_r18_fpn_1x_coco", mmdet, id="RetinaNet"),
        pytest.param("rtmdet_tiny_8xb32-300e_coco", mmdet, id="RTMDet"),
    ],
)
def test_what_mmengines_runner_writes_converts(name: str, adapter: Any, tmp_path: Path) -> None:
    """The checkpoint of a training, saved by mmengine itself: no flag is asked for."""
    from mmengine.runner import EpochBasedTrainLoop, Runner
    from torch.utils.data import DataLoader, Dataset

    class Images(Dataset[int]):
        def __init__(self) -> None:
            self.metainfo = {"classes": ("circle", "square"), "palette": [(1, 2, 3)]}

        def __len__(self) -> int:
            return 1

    config = load_config(name, NARROW | {"model.test_cfg.max_per_img": "5"} if adapter is detr else {})
    detector = build_detector(config, None)
    runner = Runner(
        detector, str(tmp_path / "work"), cfg=config, default_scope="mmdet", log_level="ERROR", experiment_name="test"
    )
    runner._train_loop = EpochBasedTrainLoop(runner, DataLoader(Images()), max_epochs=1)
    runner.save_checkpoint(
        str(tmp_path),
        "epoch_1.pth",
        save_optimizer=False,
        save_param_scheduler=False,
        meta={"epoch": 1},
        by_epoch=False,
    )
    convert(adapter, tmp_path / "epoch_1.pth", tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "detr_r50_8xb2-150e_coco",
        "conditional-detr_r50_8xb2-50e_coco",
        "dab-detr_r50_8xb2-50e_coco",
        "deformable-detr-refine-twostage_r50_16xb2-50e_coco",
        "dino-5scale_swin-l_8xb2-12e_coco",
        "faster-rcnn_r50_fpn_1x_coco",
        "mask-rcnn_r50-caffe_fpn_ms-poly-1x_coco",
        "faster-rcnn_r50_fpn-carafe_1x_coco",
        "retinanet_r50_fpg_crop640_50e_coco",
        "rtmdet_tiny_8xb32-300e_coco",
        "yolox_s_8xb8-300e_coco",
        "cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco",
        "fast-rcnn_r50_fpn_1x_coco",
        "centernet_r18_8xb16-crop512-140e_coco",
        "queryinst_r50_fpn_1x_coco",
        "solov2_r50_fpn_1x_coco",
        "soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco",
        "vfnet_r50-mdconv-c3-c5_fpn_ms-2x_coco",
    ],
)
def test_configs_of_mmdet_name_nothing_that_is_refused(name: str) -> None:
    config = load_config(name, {})
    values = registered_values(config.to_dict())
    assert values["model"]["type"] == config.model.type


def test_what_may_be_named_opens_and_evaluates_nothing() -> None:
    """The source of every class that a config may name, except initial weights, which are never asked for."""
    import mmdet.models  # noqa: F401
    from mmdet.registry import MODELS, TASK_UTILS

    found = set()
    entries = [*MODELS.module_dict.values(), *MODELS.parent.module_dict.values(), *TASK_UTILS.module_dict.values()]
    for module in {entry.__module__ for entry in entries}:
        if _within(module, LAYERS) and not _within(module, READERS) and not module.startswith("torch."):
            found |= {f"{module}: {call}" for call in risky_calls(Path(sys.modules[module].__file__ or ""))}
    assert found == {
        f"mmdet.models.{place}.init_weights: {call}"
        for place, call in [
            ("backbones.pvt: PyramidVisionTransformer", "load_checkpoint"),
            ("backbones.swin: SwinTransformer", "load_checkpoint"),
            ("backbones.detectors_resnet: DetectoRS_ResNet", "load_checkpoint"),
        ]
    }


RISKY = {"eval", "exec", "open", "load", "loads", "load_checkpoint", "fromfile", "from_pretrained", "import_module"}
RISKY |= {"__import__", "system", "Popen", "create_model", "download", "load_url", "load_state_dict_from_url"}


def risky_calls(path: Path) -> set[str]:
    found: set[str] = set()

    def walk(node: ast.AST, within: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call):
                name = getattr(child.func, "id", getattr(child.func, "attr", ""))
                if name in RISKY and not (name == "eval" and isinstance(child.func, ast.Attribute)):  # module.eval()
                    found.add(f"{within.removeprefix('.')}: {name}")
            named = isinstance(child, (ast.ClassDef, ast.FunctionDef))
            walk(child, f"{within}.{child.name}" if named else within)  # type: ignore[attr-defined]

    walk(ast.parse(path.read_text()), "")
    return found


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "-" * 15_000 + "1",
        "a = " + "not " * 15_000 + "1",
        "a = " + "+".join("1" * 15_000),
        "a = b" + ".b" * 15_000,
        "a = b" + "()" * 15_000,
        "a = " + "1 if 1 else " * 15_000 + "1",
        "a = " + "[" * 190 + "]" * 190,
        "a = " + "9" * 250_000,
        "a = " + "0x" + "f" * 250_000,
        "a = 1e999999999",
        "a = 10 ** 10 ** 10",
        "a = 'x' * 10 ** 12",
        "a = [0] * 10 ** 12",
        "a = " + "'x' " * 70_000,
        "a = [" + "[]," * 99_000 + "]",
        "a = 1\n" * 45_000,
        "a = {" + "'a': 1," * 35_000 + "}",
        "x" * 10_000_000,
    ],
    ids=lambda text: text[:24],
)
def test_hostile_text_takes_no_time(text: str, save: Save, tmp_path: Path) -> None:
    started = time.process_time()
    with pytest.raises(AdaptrtError):
        load_config_of(save(text))
    assert time.process_time() - started < 20


def load_config_of(path: Path) -> Any:
    from adaptrt_mmdet.checkpoints import open_checkpoint

    return load_config(str(path), {}, open_checkpoint(path))
