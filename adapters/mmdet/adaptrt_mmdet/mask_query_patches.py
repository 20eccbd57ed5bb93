"""Patches of mmdet's Mask2Former that keep shape arithmetic out of the graph.

Sizes, positions and reference points are constants of a fixed image size; queries have batch 1 until they meet the image.
Only the last decoder layer's scores are computed; the masks of the others limit the attention of the next layer.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import nn

from adaptrt import FunctionPatch, ModelSpec, ModulePatch, Patch
from adaptrt.patching.deformable import deformable_attention
from adaptrt_mmdet.attention import PlainAttention
from adaptrt_mmdet.detr_patches import REQUIRES, TESTED
from adaptrt_mmdet.mask_queries import MaskQueryDetector
from adaptrt_mmdet.positions import constant_positions

HIDDEN = -1e4
"""Added to the attention of cells outside of the mask: exp gives 0, also in half precision."""


def mask_query_patches(model: MaskQueryDetector, spec: ModelSpec) -> list[Patch]:
    sizes = feature_sizes(model, *spec.image_size)
    head = model.detector.panoptic_head
    return [
        FunctionPatch(
            target="mmdet.models.layers.msdeformattn_pixel_decoder:MSDeformAttnPixelDecoder.forward",
            replacement=_pixel_decoder_of(head.pixel_decoder, sizes),
            reason="sizes, positions and reference points are constants, and not computed for each image",
            requires=REQUIRES,
            tested=TESTED,
        ),
        FunctionPatch(
            target="mmdet.models.dense_heads.mask2former_head:Mask2FormerHead.forward",
            replacement=_head_of(head, sizes),
            reason="only the last scores are computed, and attention masks are added, with no count of cells",
            requires=REQUIRES,
            tested=TESTED,
        ),
        ModulePatch(
            target="mmcv.ops.multi_scale_deform_attn:MultiScaleDeformableAttention",
            build=partial(
                PlainDeformableAttention, sizes=[sizes[level] for level in coarse_to_fine(head.pixel_decoder)]
            ),
            reason="bilinear sampling as gathers in float32, with constant sizes: TensorRT's GridSample loses accuracy in half precision",
            requires=REQUIRES,
            tested=TESTED,
        ),
        ModulePatch(
            target="mmcv.cnn.bricks.transformer:MultiheadAttention",
            build=PlainAttention,
            reason="transposes to sequence-first and back around packed projections",
            requires=REQUIRES,
            tested=TESTED,
        ),
    ]


def feature_sizes(model: MaskQueryDetector, height: int, width: int) -> list[tuple[int, int]]:
    """Height and width of the feature maps of the backbone, fine to coarse, for an image of this size."""
    with torch.no_grad():
        features = model.detector.extract_feat(torch.zeros(1, 3, height, width))
    return [(int(feature.shape[2]), int(feature.shape[3])) for feature in features]


def coarse_to_fine(decoder: Any) -> list[int]:
    """The levels of the backbone that enter the encoder of a pixel decoder."""
    return [decoder.num_input_levels - number - 1 for number in range(decoder.num_encoder_levels)]


class PlainDeformableAttention(nn.Module):
    """mmcv's ``MultiScaleDeformableAttention`` in its batch-first form, with numbers for sizes.

    ``sizes``: height and width of each level, in the order of the cells.
    """

    def __init__(self, wrapped: Any, *, sizes: list[tuple[int, int]]) -> None:
        super().__init__()
        if not wrapped.batch_first:
            raise ValueError("only batch-first attention is supported")
        self.sizes, self.heads, self.samples = sizes, wrapped.num_heads, wrapped.num_levels * wrapped.num_points
        self.sides: torch.Tensor
        self.offsets, self.weights = wrapped.sampling_offsets, wrapped.attention_weights
        self.value, self.out = wrapped.value_proj, wrapped.output_proj
        sides = torch.tensor([[float(width), float(height)] for height, width in sizes])
        self.register_buffer("sides", sides.repeat_interleave(wrapped.num_points, 0))  # [L * P, 2]

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor | None = None,  # noqa: ARG002  # the value is used
        value: torch.Tensor | None = None,
        identity: torch.Tensor | None = None,
        query_pos: torch.Tensor | None = None,
        *,
        reference_points: torch.Tensor,
        **_: Any,
    ) -> torch.Tensor:
        """Like mmcv's, with reference points that broadcast to [B, Q, heads, L * P, 2], fractions of the sides."""
        value = query if value is None else value
        identity = query if identity is None else identity
        query = query if query_pos is None else query + query_pos
        count, width = int(query.shape[1]), int(self.value.out_features) // self.heads
        cells = self.value(value).reshape(-1, int(value.shape[1]), self.heads, width)
        offsets = self.offsets(query).reshape(-1, count, self.heads, self.samples, 2) / self.sides
        weights = self.weights(query).reshape(-1, count, self.heads, self.samples).softmax(-1)
        sampled = deformable_attention(cells, self.sizes, reference_points + offsets, weights)
        result: torch.Tensor = identity + self.out(sampled)
        return result


def _pixel_decoder_of(decoder: Any, sizes: list[tuple[int, int]]) -> Any:
    levels = coarse_to_fine(decoder)
    positions, references = [], []
    with torch.no_grad():
        for number, level in enumerate(levels):
            height, width = sizes[level]
            positions.append(
                constant_positions(decoder.postional_encoding, height, width) + decoder.level_encoding.weight[number]
            )
            points = decoder.point_generator.single_level_grid_priors((height, width), level, device="cpu")
            references.append(points / (torch.tensor([[width, height]]) * decoder.strides[level]))
    points = torch.cat(references, 0)[None, :, None, None]  # [1, cells, 1, 1, 2], the same for every level and sample
    return partial(_pixel_decoder, positions=torch.cat(positions, 1), references=points, levels=levels, sizes=sizes)


def _pixel_decoder(
    original: Any,
    self: Any,
    feats: Any,
    *,
    positions: torch.Tensor,
    references: torch.Tensor,
    levels: list[int],
    sizes: list[tuple[int, int]],
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    tokens = [_tokens(conv(feats[level]), sizes[level]) for conv, level in zip(self.input_convs, levels, strict=True)]
    memory = self.encoder(
        query=torch.cat(tokens, 1),
        query_pos=positions,
        key_padding_mask=None,
        spatial_shapes=None,
        level_start_index=None,
        valid_ratios=None,
        reference_points=references,
    )
    memory, outs, start = memory.transpose(1, 2), [], 0
    for level in levels:
        height, width = sizes[level]
        part = memory[:, :, start : start + height * width]
        outs.append(part.reshape(-1, int(memory.shape[1]), height, width))
        start += height * width
    size = sizes[levels[-1]]
    rest = range(levels[-1] - 1, -1, -1)
    for level, lateral, output in zip(rest, self.lateral_convs, self.output_convs, strict=True):
        outs.append(output(lateral(feats[level]) + resized(outs[-1], size, sizes[level])))
        size = sizes[level]
    return self.mask_feature(outs[-1]), outs[: self.num_outs]


def _head_of(head: Any, sizes: list[tuple[int, int]]) -> Any:
    levels = [sizes[-1 - number] for number in range(head.num_transformer_feat_level)]
    positions = [constant_positions(head.decoder_positional_encoding, height, width) for height, width in levels]
    return partial(_head, levels=levels, positions=positions, finest=sizes[0])


def _head(
    original: Any,
    self: Any,
    x: Any,
    batch_data_samples: Any,
    *,
    levels: list[tuple[int, int]],
    positions: list[torch.Tensor],
    finest: tuple[int, int],
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    features, memories = self.pixel_decoder(x)
    cells = features.reshape(-1, int(features.shape[1]), finest[0] * finest[1])
    keys = [
        _tokens(project(memory), size) + self.level_embed.weight[number].view(1, 1, -1)
        for number, (project, memory, size) in enumerate(zip(self.decoder_input_projs, memories, levels, strict=True))
    ]
    query, position = self.query_feat.weight.unsqueeze(0), self.query_embed.weight.unsqueeze(0)
    normed = self.transformer_decoder.post_norm(query)
    masks = _masks(self, normed, cells, finest)
    for number, layer in enumerate(self.transformer_decoder.layers):
        level = number % len(levels)
        query = layer(
            query=query,
            key=keys[level],
            value=keys[level],
            query_pos=position,
            key_pos=positions[level],
            cross_attn_mask=_hidden(resized(masks, finest, levels[level]), levels[level]),
        )
        normed = self.transformer_decoder.post_norm(query)
        masks = _masks(self, normed, cells, finest)
    return [self.cls_embed(normed)], [masks]


def _masks(head: Any, normed: torch.Tensor, cells: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Logits [B, Q, h, w] of queries [B or 1, Q, E] and features [B, E, h * w]."""
    return (head.mask_embed(normed) @ cells).reshape(-1, int(normed.shape[1]), *size)


def _hidden(masks: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """What is added to the attention logits, [B, 1, Q, cells]; a mask without a cell hides nothing."""
    outside = (masks < 0).to(masks.dtype).reshape(-1, int(masks.shape[1]), size[0] * size[1])
    return (outside * (1 - outside.amin(-1, keepdim=True)) * HIDDEN).unsqueeze(1)


def resized(maps: torch.Tensor, size: tuple[int, int], wanted: tuple[int, int]) -> torch.Tensor:
    """Linear, by a factor where that is exact: a size would be read at run time."""
    factors = [after / before for before, after in zip(size, wanted, strict=True)]
    exact = all(math.frexp(factor)[0] == 0.5 for factor in factors)  # powers of two
    chosen: dict[str, Any] = {"scale_factor": tuple(factors)} if exact else {"size": wanted}
    return nn.functional.interpolate(maps, mode="bilinear", align_corners=False, **chosen)


def _tokens(feature: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """[B, E, h, w] to [B, cells, E]."""
    return feature.reshape(-1, int(feature.shape[1]), size[0] * size[1]).transpose(1, 2)
