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
from ultralytics.nn.tasks import DetectionModel, guess_model_scale
from ultralytics.utils import DEFAULT_CFG_DICT

from adaptrt import CheckpointError, did_you_mean
from adaptrt.checkpoint import InertObject, read_checkpoint
from adaptrt_ultralytics.area_attention import SplitAreaAttention
from adaptrt_ultralytics.checkpoints import SUPPORTED, Checkpoint, open_checkpoint
from adaptrt_ultralytics.rebuild_modules import check_runs, graft, input_channels, is_plain

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from adaptrt_ultralytics.accounting import Rebuilt

# Layers of detection networks. Not on the list: layers that load other files (TorchVision), and heads of other tasks.
LAYER_NAMES = """
AAttn ABlock AConv ADown A2C2f Attention Bottleneck BottleneckCSP C1 C2 C2PSA C2f C2fCIB C2fPSA C3 C3Ghost C3TR C3f
C3k C3k2 C3x CBAM CBFuse CBLinear CIB ChannelAttention Concat Conv Conv2 ConvTranspose DFL DWConv DWConvTranspose2d Detect
ELAN1 Focus GhostBottleneck GhostConv HGBlock HGStem LightConv PSA PSABlock RepBottleneck RepC3 RepCSP RepConv
RepNCSPELAN4 RepVGGDW ResNetBlock ResNetLayer SCDown SPP SPPELAN SPPF SpatialAttention TransformerBlock TransformerLayer
"""
LAYERS = frozenset(LAYER_NAMES.split())
CONFIGS = Path(ultralytics.__file__).parent / "cfg" / "models"


def load_new_family(path_or_name: str | os.PathLike[str], trust: bool = False) -> nn.Module:
    """A ``DetectionModel``, float32, eval, from a ``.pt``, a ``.yaml`` or a config's name (``yolov8n``).

    In eval mode it returns ``(y, raw)`` with ``y`` float32 [B, 4 + nc, N] (cx cy w h in input pixels, class scores); set
    the head's ``export`` to get ``y`` only. ``names``, ``stride``, ``yaml`` and ``args`` are attached. A config yields
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
        raise checkpoint.error("a classic YOLOv5 checkpoint.", "Convert it with --adapter yolov5.")
    recorded = _head_of(checkpoint)
    if recorded.name == "v10Detect" or "one2one_cv2" in recorded.mapping("_modules"):
        raise _end_to_end(str(checkpoint.path))
    grafted = graft(checkpoint.model, _layer_class)
    model = grafted.module
    if not isinstance(model, DetectionModel) or not isinstance(model._modules.get("model"), nn.Sequential):
        raise checkpoint.error("the network in it is not a detection model.", SUPPORTED)
    train_args = checkpoint.contents.get("train_args")
    args = {**DEFAULT_CFG_DICT, **(train_args if isinstance(train_args, dict) and is_plain(train_args) else {})}
    return _finished(model, str(checkpoint.path), args, grafted.layers)


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
        model = DetectionModel(config, verbose=False)  # type: ignore[no-untyped-call]
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
    if not isinstance(model, DetectionModel):
        raise CheckpointError(f"{path} is not a detection model, but {type(model).__name__}.", hint=SUPPORTED)
    given = train_args if isinstance(train_args, dict) else getattr(model, "args", None)
    return _finished(model, str(path), {**DEFAULT_CFG_DICT, **(given if isinstance(given, dict) else {})})


def _layer_class(recorded: InertObject) -> type[nn.Module] | None:
    module, _, name = recorded.path.rpartition(".")
    if recorded.path == "ultralytics.nn.tasks.DetectionModel":
        return DetectionModel
    if name == "AAttn" and "qk" in recorded.mapping("_modules"):
        return SplitAreaAttention
    if not module.startswith("ultralytics.nn.modules") or name not in LAYERS:
        return None
    for home in (layers, conv, block, head, transformer):
        found = getattr(home, name, None)
        if found is not None:
            return found  # type: ignore[no-any-return]
    return None


def _head_of(checkpoint: Checkpoint) -> InertObject:
    """The recorded last layer."""
    layers = checkpoint.model.mapping("_modules").get("model")
    recorded = list(layers.mapping("_modules").values())[-1:] if isinstance(layers, InertObject) else []
    if not recorded or not isinstance(recorded[0], InertObject):
        raise checkpoint.error("the network in it has no layers.", SUPPORTED)
    return recorded[0]


def _end_to_end(source: str) -> CheckpointError:
    return CheckpointError(
        f"{source} has an end-to-end head (as YOLOv10 and YOLO26 have), which is not supported.", hint=SUPPORTED
    )


def _finished(model: Any, source: str, args: dict[str, Any], layers: Sequence[Rebuilt] = ()) -> nn.Module:
    """Checks what every later stage relies on, and attaches what Ultralytics' own loader attaches."""
    detect = model.model[-1]
    if isinstance(detect, getattr(head, "v10Detect", ())):
        raise _end_to_end(source)
    if type(detect) is not head.Detect:
        raise CheckpointError(f"{source} ends in {type(detect).__name__}, which is not supported.", hint=SUPPORTED)
    if getattr(detect, "one2one_cv2", None) is not None or detect._modules.get("cv2") is None:
        raise _end_to_end(source)
    names = model.names
    model.names = dict(enumerate(names)) if isinstance(names, (list, tuple)) else dict(names)
    if len(model.names) != detect.nc:
        raise CheckpointError(f"{source} has {len(model.names)} class names, but its head has {detect.nc} classes.")
    stride = getattr(detect, "stride", None)
    if not isinstance(stride, torch.Tensor) or stride.shape != (detect.nl,) or not bool((stride > 0).all()):
        raise CheckpointError(f"The head of {source} has no strides.")
    model.stride = stride
    model.args = args
    model.task = "detect"
    model.pt_path = source
    finished: nn.Module = model.float().eval().requires_grad_(False)
    channels = input_channels(finished)
    check_runs(finished, source, stride, (4 + detect.nc, 1), cells_axis=1, layers=layers, channels=channels)
    return finished


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
