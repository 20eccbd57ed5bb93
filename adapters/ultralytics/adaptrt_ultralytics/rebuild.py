"""Networks of the package ``ultralytics``: from a checkpoint, or from one of its configs by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import ultralytics
import yaml
from torch import nn
from ultralytics.nn import modules as layers
from ultralytics.nn.modules import block, conv, head, transformer
from ultralytics.nn.tasks import guess_model_scale
from ultralytics.utils import DEFAULT_CFG_DICT

from adaptrt import CheckpointError, did_you_mean
from adaptrt.checkpoint import InertObject, read_checkpoint
from adaptrt_ultralytics.area_attention import SplitAreaAttention
from adaptrt_ultralytics.checkpoints import SUPPORTED, Checkpoint, open_checkpoint
from adaptrt_ultralytics.heads import KINDS, MODELS, expected_shape, kind_of
from adaptrt_ultralytics.rebuild_modules import Builder, check_runs, input_channels, is_plain, rebuild_module

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from adaptrt_ultralytics.accounting import Rebuilt

# Layers of networks of every supported task. Not on the list: layers that load other files (TorchVision), and heads of tasks
# that are not supported.
LAYER_NAMES = """
AAttn ABlock AConv ADown A2C2f AIFI Attention Bottleneck BottleneckCSP C1 C2 C2PSA C2f C2fCIB C2fPSA C3 C3Ghost C3TR
C3f C3k C3k2 C3x CBAM CBFuse CBLinear CIB ChannelAttention Classify Concat Conv Conv2 ConvTranspose DFL DWConv
DWConvTranspose2d DeformableTransformerDecoder DeformableTransformerDecoderLayer Detect ELAN1 Focus GhostBottleneck
GhostConv HGBlock HGStem LightConv MLP MSDeformAttn OBB OBB26 PSA PSABlock Pose Pose26 Proto Proto26 RTDETRDecoder
RepBottleneck RepC3 RepCSP RepConv RepNCSPELAN4 RepVGGDW ResNetBlock ResNetLayer SCDown SPP SPPELAN SPPF Segment
Segment26 SpatialAttention TransformerBlock TransformerEncoderLayer TransformerLayer v10Detect
"""
LAYERS = frozenset(LAYER_NAMES.split())
CONFIGS = Path(ultralytics.__file__).parent / "cfg" / "models"


def load_new_family(path_or_name: str | os.PathLike[str], trust: bool = False) -> nn.Module:
    """A model of ``ultralytics.nn.tasks``, float32, eval, from a ``.pt``, a ``.yaml`` or a config's name (``yolov8n``).

    In eval mode it returns ``(y, raw)``, for a detector with ``y`` float32 [B, 4 + nc, N] (cx cy w h in input pixels, class
    scores); set the head's ``export`` to get ``y`` only. ``names``, ``stride``, ``yaml`` and ``args`` are attached. A config yields
    reproducible random weights; nothing is downloaded. ``trust``: let torch unpickle the file, which runs its code.
    """
    path = Path(path_or_name)
    if path.suffix in (".yaml", ".yml") or (not path.suffix and not path.exists()):
        return network_from_config(path)
    if trust:
        return network_by_unpickling(path)
    return network_from_checkpoint(open_checkpoint(path))


def network_from_checkpoint(checkpoint: Checkpoint) -> nn.Module:
    """Rebuild a checkpoint of the new family."""
    if checkpoint.family != "new":
        raise checkpoint.error("this is a classic YOLOv5 checkpoint.", "Convert it with --adapter yolov5.")
    rebuilt = rebuild_module(checkpoint.model, _layer_class, _REPLACED)
    model = rebuilt.module
    if not isinstance(model, tuple(MODELS.values())) or not isinstance(model._modules.get("model"), nn.Sequential):
        raise checkpoint.error("the network is not of a supported class.", SUPPORTED)
    train_args = checkpoint.contents.get("train_args")
    args = {**DEFAULT_CFG_DICT, **(train_args if isinstance(train_args, dict) and is_plain(train_args) else {})}
    return _finished(model, str(checkpoint.path), args, rebuilt.layers)


def network_from_config(path: Path) -> nn.Module:
    """The network that a config of the package describes, with reproducible random weights.

    Ultralytics evaluates expressions in a config, and searches the current folder for its name first. To avoid both, it
    gets the contents of the file in the package.
    """
    name, file = _config_of(path)
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    config |= {"scale": guess_model_scale(name), "yaml_file": name}  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS[_model_name(config)](config, verbose=False)
    return _finished(model, str(path), dict(DEFAULT_CFG_DICT))


def network_by_unpickling(path: Path) -> nn.Module:
    """Unpickle the file, which executes its code; only if the user trusts it.

    Not ``YOLO(path)``: for a file named ``yolov5n.pt``, it downloads and loads ``yolov5nu.pt`` instead.
    """
    contents = read_checkpoint(path, trust=True)
    contents = contents if isinstance(contents, dict) else {"model": contents}
    return network_from_unpickled(contents.get("ema") or contents.get("model"), path, contents.get("train_args"))


def network_from_unpickled(model: Any, path: Path, train_args: Any = None) -> nn.Module:
    """The network that ``network_by_unpickling`` found, checked and finished."""
    if not isinstance(model, tuple(MODELS.values())):
        raise CheckpointError(f"{path} contains a {type(model).__name__}, which is not supported.", hint=SUPPORTED)
    given = train_args if isinstance(train_args, dict) else getattr(model, "args", None)
    return _finished(model, str(path), {**DEFAULT_CFG_DICT, **(given if isinstance(given, dict) else {})})


def _layer_class(recorded: InertObject) -> type[nn.Module] | None:
    module, _, name = recorded.path.rpartition(".")
    if module == "ultralytics.nn.tasks":
        return MODELS.get(name)
    if name == "AAttn" and "qk" in recorded.mapping("_modules"):
        return SplitAreaAttention
    if not module.startswith("ultralytics.nn.modules") or name not in LAYERS:
        return None
    for home in (layers, conv, block, head, transformer):
        found = getattr(home, name, None)
        if found is not None:
            return found  # type: ignore[no-any-return]
    return None


def _nothing(recorded: InertObject, child: Callable[[str], nn.Module]) -> nn.Module:
    """A placeholder for the flow model of YOLO26's pose loss, which only training uses."""
    return nn.Identity()


_REPLACED: Mapping[str, Builder] = {
    "ultralytics.nn.modules.block.RealNVP": _nothing,
}


def _model_name(config: Mapping[str, Any]) -> str:
    """The class that Ultralytics would choose for a config: by its last layer."""
    last = str(config["head"][-1][-2])
    for kind in KINDS:
        if last in kind.heads:
            return kind.model.__name__
    raise CheckpointError(f"Configs that end in {last} are not supported.", hint=SUPPORTED)


def _finished(model: Any, source: str, args: dict[str, Any], layers: Sequence[Rebuilt] = ()) -> nn.Module:
    """Check what later stages rely on, and attach what Ultralytics' own loader attaches."""
    last = model.model[-1]
    kind = kind_of(last)
    if kind is None or not isinstance(model, kind.model):
        raise CheckpointError(f"{source} ends in {type(last).__name__}, which is not supported.", hint=SUPPORTED)
    names = model.names
    model.names = dict(enumerate(names)) if isinstance(names, (list, tuple)) else _by_number(names)
    classes = int(last.linear.out_features) if kind.task == "classify" else last.nc
    if len(model.names) != classes:
        raise CheckpointError(f"{source} has {len(model.names)} class names, but its head has {classes} classes.")
    if {*model.names} != {*range(classes)}:
        raise CheckpointError(
            f"The class names of {source} are not numbered from 0 to {classes - 1}.",
            hint="Renumber them in the checkpoint, as Ultralytics requires.",
        )
    if kind.task == "classify":
        model.stride = torch.tensor([1.0])
    elif kind.decoder == "rtdetr":
        model.stride = torch.tensor([8.0, 16.0, 32.0])  # the head does not record them
    else:
        stride = getattr(last, "stride", None)
        if not isinstance(stride, torch.Tensor) or stride.shape != (last.nl,) or not bool((stride > 0).all()):
            raise CheckpointError(f"The head of {source} has no strides.")
        model.stride = stride
    if kind.task == "pose":
        model.kpt_shape = last.kpt_shape
    model.args = args
    model.task = kind.task
    model.pt_path = source
    finished: nn.Module = model.float().eval().requires_grad_(False)
    channels = input_channels(finished)
    check_runs(finished, source, model.stride, lambda cells: expected_shape(last, cells), layers, channels)
    return finished


def _by_number(names: Mapping[Any, Any]) -> dict[Any, Any]:
    """With integers as keys, which may be text: sorted as text, 10 comes before 2."""
    return {int(key) if isinstance(key, str) and key.isdecimal() else key: name for key, name in names.items()}


def _config_of(path: Path) -> tuple[str, Path]:
    """A config's name and file; ``yolov5nu`` and ``yolov5n6u`` are names of weights for a config."""
    if path.exists():
        raise CheckpointError(
            f"{path} is a custom config without weights.",
            hint="Train it, or create a checkpoint from it with Ultralytics, and convert the .pt.",
        )
    stem = re.sub(r"^(yolov[35]\w*?)u$", r"\1", path.stem)
    stem = re.sub(r"^(yolov[58][nsmlx])6$", r"\1-p6", stem)
    unscaled = re.sub(r"(\d+)[nsmlx](?=-|$)", r"\1", stem)
    known = {file.stem: file for file in CONFIGS.rglob("*.yaml")}
    file = known.get(stem) or known.get(unscaled)
    if file is None:
        scaled = {re.sub(r"(\d+)(?=-|$)", r"\1n", name, count=1) for name in known}
        raise CheckpointError(f"No file or config named {str(path)!r}.", hint=did_you_mean(stem, known.keys() | scaled))
    return f"{stem}.yaml", file
