"""Patches of mmdet's DETR that keep shape arithmetic out of the graph.

Only the image features have a batch dimension; queries, positions and the first self-attention of the decoder do not
depend on the image, so they have batch 1 and are broadcast. The batch is the -1 of each reshape.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from adaptrt import FunctionPatch, ModelSpec, ModulePatch, Patch
from adaptrt_mmdet.attention import PlainAttention
from adaptrt_mmdet.positions import constant_positions, masked_positions, traced_positions
from adaptrt_mmdet.query_family import QueryDetector
from adaptrt_mmdet.versions import REQUIRES, TESTED

LINK = "https://github.com/open-mmlab/mmdetection/issues/5168"
_DETR = "mmdet.models.detectors.detr:DETR"
_LAYERS = "mmdet.models.layers.transformer.detr_layers"


def detr_patches(model: QueryDetector, spec: ModelSpec) -> list[Patch]:
    """The patches of this detector, depending on the spec: fixed or dynamic size, masked padding or none."""
    masked = len(spec.inputs) == 2
    found: list[Patch] = [
        FunctionPatch(
            target=f"{_DETR}.pre_transformer",
            replacement=_pre_transformer(model, spec, masked),
            reason="the padding mask, which mmdet drops during export"
            if masked
            else "positions of a fixed size are a constant; batch and cells are not read from shapes",
            requires=REQUIRES,
            tested=TESTED,
            link=LINK,
        )
    ]
    if masked:
        found.append(
            FunctionPatch(
                target="adaptrt_mmdet.query_family:data_samples",
                replacement=_one_sample,
                reason="a loop over the images would make the batch size constant",
                requires=REQUIRES,
                tested=TESTED,
            )
        )
    elif spec.dynamic_size and not model.raw:  # raw boxes are fractions of the image, independent of its size
        found.append(
            FunctionPatch(
                target="adaptrt_mmdet.query_family:image_size",
                replacement=_traced_size,
                reason="TorchScript would make the traced size a constant in the decoding",
                requires=REQUIRES,
                tested=TESTED,
            )
        )
    found.append(
        ModulePatch(
            target="mmcv.cnn.bricks.transformer:MultiheadAttention",
            build=partial(PlainAttention, static=not spec.dynamic_size),
            reason="transposes to sequence-first and back around packed projections",
            requires=REQUIRES,
            tested=TESTED,
        )
    )
    if model.kind != "DETR":
        return found
    return [
        *found,
        FunctionPatch(
            target=f"{_DETR}.pre_decoder",
            replacement=_pre_decoder,
            reason="queries repeated for each image become Expand and Shape; batch 1 is broadcast",
            requires=REQUIRES,
            tested=TESTED,
        ),
        FunctionPatch(
            target=f"{_LAYERS}:DetrTransformerDecoder.forward",
            replacement=_decoder,
            reason="only the last layer's output reaches the heads in a prediction",
            requires=REQUIRES,
            tested=TESTED,
        ),
        FunctionPatch(
            target=f"{_LAYERS}:DetrTransformerDecoderLayer.forward",
            replacement=partial(
                _decoder_layer, first=first_queries(model.detector), place=model.detector.decoder.layers[0]
            ),
            reason="the first self-attention depends on queries only, not on the image: a constant",
            requires=REQUIRES,
            tested=TESTED,
        ),
    ]


def first_queries(detector: Any) -> torch.Tensor:
    """The output of the decoder's first self-attention and its norm: [1, Q, E], the same for every image."""
    layer = detector.decoder.layers[0]
    positions = detector.query_embedding.weight.detach().unsqueeze(0)
    nothing = torch.zeros_like(positions)
    with torch.no_grad():
        attended = layer.self_attn(query=nothing, key=nothing, value=nothing, query_pos=positions, key_pos=positions)
        first: torch.Tensor = layer.norms[0](attended)
    return first


def _pre_transformer(model: QueryDetector, spec: ModelSpec, masked: bool) -> Any:
    encoding = model.detector.positional_encoding
    static = not spec.dynamic_size
    own = model.kind == "DETR"  # the others' attention takes a boolean mask, and positions of every image
    if masked:
        return partial(_masked_pre_transformer, static=static, boolean=not own)
    if static:
        height, width = spec.image_size
        constant = constant_positions(encoding, *feature_size(model.detector, height, width))

    def positions(feature: torch.Tensor) -> torch.Tensor:
        found = constant if static else traced_positions(encoding, feature)
        return found if own else found.expand(feature.shape[0], -1, -1)

    return partial(_plain_pre_transformer, positions=positions, static=static)


def feature_size(detector: Any, height: int, width: int) -> tuple[int, int]:
    """Height and width of the last feature map for an image of this size."""
    with torch.no_grad():
        feature = detector.extract_feat(torch.zeros(1, 3, height, width))[-1]
    return int(feature.shape[2]), int(feature.shape[3])


def _one_sample(original: Any, images: torch.Tensor, masks: torch.Tensor) -> list[Any]:
    return [SimpleNamespace(masks=masks)]


def _traced_size(original: Any, images: torch.Tensor, masks: torch.Tensor | None) -> torch.Tensor:
    one = torch.ones(())
    height, width = one * images.shape[2], one * images.shape[3]
    return torch.stack([width, height, width, height]).view(1, 1, 4)


def _plain_pre_transformer(
    original: Any,
    self: Any,
    img_feats: tuple[torch.Tensor],
    batch_data_samples: Any = None,
    *,
    positions: Callable[[torch.Tensor], torch.Tensor],
    static: bool,
) -> tuple[dict[str, Any], dict[str, Any]]:
    feature = img_feats[-1]
    position = positions(feature)
    return (
        {"feat": _tokens(feature, static), "feat_mask": None, "feat_pos": position},
        {"memory_mask": None, "memory_pos": position},
    )


def _masked_pre_transformer(
    original: Any,
    self: Any,
    img_feats: tuple[torch.Tensor],
    batch_data_samples: Any = None,
    *,
    static: bool,
    boolean: bool,
) -> tuple[dict[str, Any], dict[str, Any]]:
    feature, masks = img_feats[-1], batch_data_samples[0].masks
    cells = _mask_of_cells(masks, feature, static)  # (B, h, w), 1: padding
    position = masked_positions(self.positional_encoding, cells, static=static)
    count = int(cells.shape[1]) * int(cells.shape[2]) if static else None
    flat = cells.flatten(1) if count is None else cells.reshape(-1, count)
    hidden = (
        flat > 0.5 if boolean else flat * -1e4
    )  # added to the attention logits: exp gives 0, also in half precision
    return (
        {"feat": _tokens(feature, static), "feat_mask": hidden, "feat_pos": position},
        {"memory_mask": hidden, "memory_pos": position},
    )


def _mask_of_cells(masks: torch.Tensor, feature: torch.Tensor, static: bool) -> torch.Tensor:
    """The nearest pixel of each cell, as in mmdet."""
    if static:
        steps = [int(pixels) // int(cells) for pixels, cells in zip(masks.shape[1:], feature.shape[2:], strict=True)]
        if all(
            step * int(cells) == int(pixels)
            for step, cells, pixels in zip(steps, feature.shape[2:], masks.shape[1:], strict=True)
        ):
            return masks[:, :: steps[0], :: steps[1]]
    size = [int(side) if static else side for side in feature.shape[-2:]]
    return nn.functional.interpolate(masks.unsqueeze(1), size=size)[:, 0]  # squeeze would read the size of that axis


def _tokens(feature: torch.Tensor, static: bool) -> torch.Tensor:
    """[B, E, h, w] to [B, cells, E]."""
    if static:
        channels, height, width = (int(size) for size in feature.shape[1:])
        return feature.reshape(-1, channels, height * width).transpose(1, 2)
    return feature.flatten(2).transpose(1, 2)


def _pre_decoder(original: Any, self: Any, memory: torch.Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
    positions = self.query_embedding.weight.unsqueeze(0)  # (1, Q, E)
    return {"query_pos": positions, "query": torch.zeros_like(positions), "memory": memory}, {}


def _decoder(original: Any, self: Any, query: torch.Tensor, **inputs: Any) -> list[torch.Tensor]:
    """The last layer's output, in a list: ``[-1]`` of it adds nothing to the graph."""
    for layer in self.layers:
        query = layer(query, **inputs)
    return [self.post_norm(query)]


def _decoder_layer(
    original: Any, self: Any, query: torch.Tensor, *, first: torch.Tensor, place: Any, **inputs: Any
) -> torch.Tensor:
    if self is not place:
        result: torch.Tensor = original(self, query, **inputs)
        return result
    query = self.norms[1](
        self.cross_attn(
            query=first,
            key=inputs["key"],
            value=inputs["value"],
            query_pos=inputs["query_pos"],
            key_pos=inputs["key_pos"],
            key_padding_mask=inputs["key_padding_mask"],
        )
    )
    last: torch.Tensor = self.norms[2](self.ffn(query))
    return last
