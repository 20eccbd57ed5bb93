"""Adapter ``tvseg``: the source is the name of a torchvision segmentation model; ``--weights`` is its state dict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adaptrt import (
    Conversion,
    DecoderSpec,
    FunctionPatch,
    ImageTransform,
    InputSpec,
    ModelError,
    ModelSpec,
    OutputGroup,
    OutputSpec,
    SemanticMap,
    UsageError,
    did_you_mean,
    hookimpl,
)
from adaptrt.checkpoint import fill_model, read_state_dict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch
    from torch import nn

HEADS = ("classifier.low_classifier.weight", "classifier.4.weight")  # LR-ASPP; DeepLabV3 and FCN
COUNTERS = "num_batches_tracked"  # of BatchNorm: missing in some checkpoints, and not used in inference
STRIDE = 16  # of the deepest features
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's SemanticSegmentation preset


@dataclass(frozen=True)
class Options:
    """``labels``: class names, background first. ``num_classes``: required if neither weights nor labels are given."""

    labels: tuple[str, ...] = ()
    num_classes: int = 21


@hookimpl
def adapter_options() -> type[Options]:
    return Options


@hookimpl
def load_model(ctx: Conversion) -> nn.Module:
    """torchvision's own network; without ``--weights``, random weights with a fixed seed."""
    import torch
    from torchvision.models import get_model, list_models, segmentation

    name, known = ctx.request.source, list_models(module=segmentation)
    if name not in known:
        raise ModelError(f"torchvision has no segmentation model {name!r}.", hint=did_you_mean(name, known))
    weights = read_state_dict(ctx.request.weights) if ctx.request.weights is not None else {}
    weights = {key: value for key, value in weights.items() if not key.startswith("aux_classifier.")}
    head = next((weights[key] for key in HEADS if key in weights), None)
    classes = len(head) if head is not None else len(ctx.options.labels) or ctx.options.num_classes
    torch.manual_seed(ctx.request.seed)
    model: nn.Module = get_model(name, weights=None, weights_backbone=None, num_classes=classes)
    if weights:
        fill_model(
            model,
            weights,
            ctx.request.weights,
            network=name,
            hint="Specify the model that the weights were trained for.",
            ignored=lambda key: key.endswith(COUNTERS),
        )
    return model.eval()


@hookimpl
def model_spec(ctx: Conversion, model: nn.Module) -> ModelSpec:
    """Images are resized to the input and normalized as in torchvision's preset; one logit per class and pixel."""
    state = model.state_dict()
    classes = len(next(state[key] for key in HEADS if key in state))
    labels = ctx.options.labels or tuple(f"class {number}" for number in range(classes))
    if len(labels) != classes:
        raise UsageError(f"Got {len(labels)} labels for {classes} classes.", hint="The background is also a class.")
    return ModelSpec(
        inputs=(InputSpec.image(512, 512),),
        outputs=(OutputSpec("logits", groups=(OutputGroup("logits", "logits"),)),),
        task="semantic",
        image=ImageTransform(resize="stretch", library="pil", mean=MEAN, std=STD, stride=STRIDE),
        decoder=DecoderSpec("semantic"),
        labels=labels,
    )


@hookimpl
def patches(spec: ModelSpec) -> list[FunctionPatch]:
    if spec.dynamic_size:
        return []  # the sizes must then be part of the graph
    return [
        FunctionPatch(
            target="torch.nn.functional:interpolate",
            replacement=interpolate_by_factor,
            reason="sizes read from tensors end as Shape and Concat in front of every Resize; a factor is a constant",
            requires="torchvision>=0.19,<1",
            tested="torchvision==0.26.*",
            link="https://github.com/pytorch/vision/blob/v0.26.0/torchvision/models/segmentation/_utils.py",
        )
    ]


def interpolate_by_factor(
    original: Callable[..., torch.Tensor],
    input: torch.Tensor,  # noqa: A002
    size: Any = None,
    *args: Any,
    **keywords: Any,
) -> torch.Tensor:
    """Resize to the same size by an integer scale factor instead of ``size``."""
    if size is None or isinstance(size, int):
        return original(input, size, *args, **keywords)
    pairs = [(int(new), int(old)) for new, old in zip(size, input.shape[2:], strict=True)]
    if any(new % old for new, old in pairs):
        return original(input, [new for new, _ in pairs], *args, **keywords)
    return original(input, None, tuple(float(new // old) for new, old in pairs), *args, **keywords)


@hookimpl
def framework_predictions(ctx: Conversion, image: Path, spec: ModelSpec) -> SemanticMap:
    """torchvision's own inference: its preset, its network, the logits resized to the image, without code of adaptrt."""
    import torch
    from PIL import Image
    from torchvision.models import get_model_weights
    from torchvision.transforms.functional import resize

    photo = Image.open(image).convert("RGB")
    weights = get_model_weights(ctx.request.source).DEFAULT  # only for the preset: no weights are loaded
    batch = weights.transforms(resize_size=None)(resize(photo, list(spec.image_size)))[None]
    with torch.inference_mode():
        logits = load_model(ctx)(batch)["out"]
        resized = torch.nn.functional.interpolate(logits, (photo.height, photo.width), mode="bilinear")
    return SemanticMap(resized.argmax(1)[0].to(torch.uint8).numpy(), spec.labels)
