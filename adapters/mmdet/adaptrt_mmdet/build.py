"""Builds an mmdet detector from a config and weights."""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from adaptrt import ModelError, did_you_mean
from adaptrt.checkpoint import batch_norms, fill_model, take_noise_statistics
from adaptrt_mmdet.configs import without_downloads
from adaptrt_mmdet.images import input_channels
from adaptrt_mmdet.registered import only_registered
from adaptrt_mmdet.stand_in import ensure_ops

if TYPE_CHECKING:
    import torch
    from mmengine.config import Config
    from torch import nn

    from adaptrt_mmdet.checkpoints import Checkpoint

_NOISE = (256, 256)
_CLASS_LAYER = re.compile(r"fc_cls|cls_score|retina_cls|conv_cls|atss_cls|gfl_cls|rtm_cls|cls_branches|label_embedding")


def build_detector(config: Config, checkpoint: Checkpoint | None) -> nn.Module:
    """The network, eval, float32; without a checkpoint, mmdet's own random initialization with a fixed seed."""
    ensure_ops()
    import mmdet.models  # noqa: F401  # registers them
    import torch
    from mmdet.registry import MODELS
    from mmengine.registry import DefaultScope

    described = without_downloads(config.model)
    kind = described["type"]
    with only_registered(config):
        if isinstance(kind, str) and MODELS.get(kind) is None:
            raise ModelError(f"mmdet has no model {kind!r}.", hint=did_you_mean(kind, MODELS.module_dict))
    # types without a scope are mmdet's
    with (
        quiet(),
        without_remote_weights(),
        only_registered(config),
        DefaultScope.overwrite_default_scope("mmdet"),
        torch.random.fork_rng(devices=[]),
    ):
        torch.manual_seed(0)
        try:
            detector: Any = MODELS.build(described)
        except ModelError:
            raise
        except Exception as error:  # constructors of mmdet may raise anything
            raise ModelError(
                f"mmdet cannot build {kind}: {type(error).__name__}: {error}",
                hint="Check the config and its --set cfg... overrides.",
            ) from error
        if checkpoint is None:
            detector.init_weights()
    if checkpoint is not None:
        load_weights(detector, checkpoint)
    network: nn.Module = detector.eval().float()
    without_zero_eps(network)
    if checkpoint is None:
        take_noise_statistics(network, lambda images: _reach_norms(network, images), (input_channels(network), *_NOISE))
    return network


SMALLEST_EPS = 2.0**-126
"""The smallest normal float32: added to a variance above 2e-31, it leaves it as it is."""


def without_zero_eps(network: nn.Module) -> None:
    """Give batch norms with ``eps=0`` the smallest ``eps``, which computes the same: torch 2.11 rejects 0.

    mmdet's NAS-FCOS, whose backbone comes from Caffe with its statistics folded in, has it.
    """
    for norm in batch_norms(network):
        if norm.eps == 0:
            norm.eps = SMALLEST_EPS


def _reach_norms(detector: Any, images: torch.Tensor) -> None:
    """Call what takes features alone and has batch norms."""
    features = detector.extract_feat(images)
    for head in (getattr(detector, name, None) for name in ("rpn_head", "bbox_head")):
        if head is not None and batch_norms(head):
            head(features)


def load_weights(detector: nn.Module, checkpoint: Checkpoint) -> None:
    """Load every parameter of the network; a mismatch is a ``CheckpointError``."""
    given = checkpoint.weights
    fill_model(
        detector,
        given,
        checkpoint.path.name,
        network="the config",
        hint="Convert with the config it was trained with; mmdet 2's checkpoints need mmdet's own conversion first.",
        shape_hint=lambda wrong: _class_hint(detector, wrong, given),
        order=lambda name: _CLASS_LAYER.search(name) is not None,
        ignored=lambda name: name.startswith("data_preprocessor."),
    )


def _class_hint(detector: Any, wrong: Sequence[str], given: Mapping[str, Any]) -> str:
    """A hint with the number of classes, if only layers that depend on it differ; softmax heads have one more class."""
    counted = [name for name in wrong if _CLASS_LAYER.search(name)]
    known = getattr(getattr(detector, "bbox_head", None), "num_classes", None)
    if not isinstance(known, int) or len(counted) < len(wrong):
        return "Convert with the config it was trained with."
    rows, own = given[wrong[0]].shape[0], detector.state_dict()[wrong[0]].shape[0]
    classes = rows - (own - known) if own - known in (0, 1) else rows * known // own
    return f"Its number of classes differs: --set cfg.model.bbox_head.num_classes={classes}"


@contextlib.contextmanager
def without_remote_weights() -> Iterator[None]:
    """Raise a ``ModelError`` where a constructor would download weights, as those of distilled detectors do for a teacher."""
    from mmengine.runner.checkpoint import CheckpointLoader

    def refuse(filename: str, *_: Any, **__: Any) -> NoReturn:
        raise ModelError(
            f"The config loads weights from {filename} when the network is built; nothing is downloaded.",
            hint="Download the file, and name it in the config: --set cfg.model.teacher_ckpt=FILE, or =None.",
        )

    schemes = CheckpointLoader._schemes  # private: mmengine has no public API to list or replace them
    originals = dict(schemes)
    schemes.update({prefix: refuse for prefix in originals if prefix})
    try:
        yield
    finally:
        schemes.update(originals)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress mmengine's logs of initialized parameters and its deprecation warnings."""
    disabled = logging.root.manager.disable
    logging.disable(max(disabled, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
