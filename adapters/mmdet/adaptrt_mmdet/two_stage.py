"""Two-stage detectors as static graphs: a fixed number of proposals, RoIAlign on every level with a mask, Cluster-NMS.

The same numbers as mmdet's ``predict``, which loops over images and levels, and selects a number of boxes that depends on
the image.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from adaptrt.export.cluster_nms import ClusterNms, moved_apart
from adaptrt_mmdet.dense_boxes import from_deltas, joined, priors_of
from adaptrt_mmdet.highest import highest, rows_at
from adaptrt_mmdet.image_region import image_limits, within
from adaptrt_mmdet.sources import Source


class TwoStageDetector(nn.Module):
    """Images float32 [B, 3, H, W] to detections, the best first; rows beyond ``num_dets`` are zeros.

    ``num_dets`` int32 [B, 1]; ``det_boxes`` [B, M, 4], x1 y1 x2 y2 in pixels; ``det_scores`` [B, M]; ``det_classes`` int32
    [B, M]; if ``converged``, ``nms_converged`` int32 [B, 1], 0 if an NMS needs more than ``rounds``; with masks ``det_masks`` [B, M, h, w],
    the probability that a part of the box is the object. Of an RPN alone, the detections are its proposals.

    ``candidates``: how many pairs of proposal and class enter the last NMS, the best. ``padded``: zeros at the bottom and
    right are padding, and boxes are clipped to the image, as mmdet clips them.
    """

    def __init__(
        self,
        source: Source,
        *,
        rounds: int,
        candidates: int,
        padded: bool = False,
        converged: bool = True,
    ) -> None:
        super().__init__()
        self.detector: Any = source.detector
        self.source = source
        self.nms = ClusterNms()
        self.rounds, self.candidates, self.padded, self.converged = rounds, candidates, padded, converged

    @property
    def rpn(self) -> Any:
        return self.detector.bbox_head if self.roi_head is None else self.detector.rpn_head

    @property
    def roi_head(self) -> Any:
        return getattr(self.detector, "roi_head", None)

    @property
    def stages(self) -> list[tuple[Any, Any]]:
        """The RoI extractor and the box head of each stage: one, or several (Cascade R-CNN)."""
        heads, extractors = self.roi_head.bbox_head, self.roi_head.bbox_roi_extractor
        return list(zip(_several(extractors), _several(heads), strict=True))

    @property
    def mask_stages(self) -> list[tuple[Any, Any]]:
        """The RoI extractor and the mask head of each stage; none without masks."""
        if self.roi_head is None or not self.roi_head.with_mask:
            return []
        heads = _several(self.roi_head.mask_head)
        shared = getattr(self.roi_head, "share_roi_extractor", False)
        extractors = self.roi_head.bbox_roi_extractor if shared else self.roi_head.mask_roi_extractor
        return list(zip(_several(extractors), heads, strict=True))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = self.detector.extract_feat(images)
        limits = image_limits(images, padded=self.padded, static=True)
        proposals, objectness, converged = self.proposals(features, limits)
        if self.roi_head is None:
            labels = torch.zeros_like(objectness)
            return *_padded(proposals, objectness, labels), *self.final(converged)
        boxes, scores, labels, settled = self.detections(features, proposals, (objectness > 0).to(images.dtype), limits)
        outputs = (*_padded(boxes, scores, labels), *self.final(converged * settled))
        if not self.mask_stages:
            return outputs
        return *outputs, self.masks(features, outputs[1], labels, (scores > 0).to(images.dtype))

    def final(self, converged: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The output ``nms_converged``, if it is wanted."""
        return (converged.to(torch.int32),) if self.converged else ()

    def proposals(self, features: Any, limits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Boxes [B, P, 4], their scores [B, P], 0 where there are fewer, and whether NMS is final, float32 [B, 1]."""
        head, test = self.rpn, self.rpn.test_cfg
        logits, deltas = head(features)
        counts: list[int] = []
        ranks: list[torch.Tensor] = []
        boxes: list[torch.Tensor] = []
        scores: list[torch.Tensor] = []
        anchors, _ = priors_of(head, logits, static=True)
        start = 0
        for level, encoded in zip(logits, deltas, strict=True):
            raw = joined([level], int(head.cls_out_channels), static=True)
            score = (raw.sigmoid() if head.use_sigmoid_cls else raw.softmax(-1))[..., 0]
            count = int(level.shape[1] * level.shape[2] * level.shape[3]) // int(head.cls_out_channels)
            most = min(test.nms_pre, count) if test.get("nms_pre", -1) > 0 else count
            score, index = highest(score, most)
            delta = rows_at(joined([encoded], 4, static=True), index)
            box = from_deltas(head.bbox_coder, anchors[0, start : start + count][index], delta)
            boxes.append(within(box, limits) if head.bbox_coder.clip_border else box)
            scores.append(score)
            ranks.append(index)
            counts.append(most)
            start += count
        found, score = torch.cat(boxes, 1), torch.cat(scores, 1)
        least = float(test.get("min_bbox_size", -1))
        alive = torch.ones_like(score)
        if least >= 0:
            alive = ((found[..., 2:] - found[..., :2]).amin(-1) > least).to(score.dtype)
        number_of = torch.cat([torch.full((most,), float(number)) for number, most in enumerate(counts)])
        moved = moved_apart(found, number_of.unsqueeze(0), alive)
        kept, final = [], []
        start = 0
        for most, level_score, index in zip(counts, scores, ranks, strict=True):
            part = slice(start, start + most)  # boxes of different levels do not suppress each other
            keep, converged = self.nms(
                moved[:, part], level_score, index, alive[:, part], test.nms.iou_threshold, self.rounds
            )
            kept.append(keep)
            final.append(converged)
            start += most
        score = score * torch.cat(kept, 1)
        score, index = highest(score, min(test.max_per_img, start))
        return rows_at(found, index), score, torch.cat(final, 1).amin(1, keepdim=True)

    def detections(
        self, features: Any, proposals: torch.Tensor, alive: torch.Tensor, limits: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Boxes [B, M, 4], scores and labels [B, M], and whether NMS is final, float32 [B, 1]."""
        count, sums = int(proposals.shape[1]), 0.0
        for number, (extractor, head) in enumerate(self.stages):
            logits, deltas = head(self.roi_features(extractor, features, proposals))
            sums = sums + logits
            if number == len(self.stages) - 1:
                break
            label = (activated(head, logits) if custom(head) else logits)[:, :-1].argmax(1).reshape(-1, count)
            proposals = self.refined(head, proposals, deltas.reshape(-1, count, int(deltas.shape[1])), label, limits)
        classes = int(head.num_classes)
        scores = activated(head, sums / float(len(self.stages)))[:, :classes].reshape(-1, count, classes)
        scores = (scores * alive.unsqueeze(-1)).reshape(-1, count * classes)
        test = self.roi_head.test_cfg
        scores = scores * (scores > test.score_thr).to(scores.dtype)
        best, index = highest(scores, min(self.candidates, count * classes))
        pairs = torch.arange(count * classes)
        owner, labels = (pairs // classes)[index], (pairs % classes)[index]
        deltas = deltas.reshape(-1, count * (1 if head.reg_class_agnostic else classes), 4)
        deltas = rows_at(deltas, owner if head.reg_class_agnostic else index)
        boxes = within(from_deltas(head.bbox_coder, rows_at(proposals, owner), deltas), limits)
        candidates = (best > 0).to(best.dtype)
        moved = boxes if test.nms.get("class_agnostic", False) else moved_apart(boxes, labels, candidates)
        keep, converged = self.nms(moved, best, index, candidates, test.nms.iou_threshold, self.rounds)
        best, index = highest(best * keep, min(test.max_per_img, int(best.shape[1])))
        return rows_at(boxes, index), best, labels.gather(1, index), converged

    def refined(
        self, head: Any, proposals: torch.Tensor, deltas: torch.Tensor, label: torch.Tensor, limits: torch.Tensor
    ) -> torch.Tensor:
        """The proposals of the next stage."""
        if not head.reg_class_agnostic:
            deltas = deltas.gather(2, torch.stack([label * 4 + side for side in range(4)], -1))
        return within(from_deltas(head.bbox_coder, proposals, deltas), limits)

    def roi_features(self, extractor: Any, features: Any, boxes: torch.Tensor) -> torch.Tensor:
        found = roi_features(extractor, features, boxes)
        shared: torch.Tensor = self.roi_head.shared_head(found) if self.roi_head.with_shared_head else found
        return shared

    def masks(self, features: Any, boxes: torch.Tensor, labels: torch.Tensor, alive: torch.Tensor) -> torch.Tensor:
        """float32 [B, M, h, w], of the class of each box."""
        count, parts = int(boxes.shape[1]), []
        for extractor, head in self.mask_stages:
            logits = head(self.roi_features(extractor, features, boxes))  # [B * M, C, h, w]
            classes, height, width = (int(size) for size in logits.shape[1:])
            odds = logits.sigmoid().reshape(-1, classes, height * width)
            if classes > 1:  # the product with 0 and 1 is exact
                own = labels.reshape(-1, 1, 1) == torch.arange(classes).view(1, 1, -1)
                odds = own.to(odds.dtype) @ odds
            parts.append(odds.reshape(-1, count, height, width))
        mean = parts[0] if len(parts) == 1 else sum(parts[1:], parts[0]) / len(parts)
        return mean * alive.unsqueeze(-1).unsqueeze(-1)


def custom(head: Any) -> bool:
    """Whether the loss of a box head says how its outputs become scores (Seesaw, V3Det's cross entropy)."""
    return bool(getattr(head, "custom_cls_channels", False))


def activated(head: Any, logits: torch.Tensor) -> torch.Tensor:
    """Scores [N, classes + 1], the background last."""
    scores: torch.Tensor = head.loss_cls.get_activation(logits) if custom(head) else logits.softmax(-1)
    return scores


def roi_features(extractor: Any, features: Any, boxes: torch.Tensor) -> torch.Tensor:
    """[B * P, C, h, w] of boxes [B, P, 4]: RoIAlign on every level, and a mask in place of a selection.

    A box without area has zeros as features, as in mmcv. TensorRT's RoIAlign divides 0 by 0 there, in half precision also for
    a box that is narrower than a rounding error, and a NaN among the scores can displace others in TopK.
    """
    from torchvision.ops import roi_align  # type: ignore[import-untyped]

    ones = boxes[..., :1] * 0 + 1  # not from a shape, so that the batch stays dynamic
    image = ones.cumsum(0) - 1
    rois = torch.cat([image, boxes], -1).reshape(-1, 5)
    layers = list(extractor.roi_layers)
    scale = ((rois[:, 3] - rois[:, 1]) * (rois[:, 4] - rois[:, 2])).sqrt()
    level = torch.floor(torch.log2(scale / extractor.finest_scale + 1e-6)).clamp(0, len(layers) - 1)
    found = None
    for number, (layer, feature) in enumerate(zip(layers, features, strict=False)):
        size = tuple(int(side) for side in layer.output_size)
        part = roi_align(feature, rois, size, layer.spatial_scale, layer.sampling_ratio, layer.aligned)
        found = part if found is None else torch.where((level == number).view(-1, 1, 1, 1), part, found)
    assert found is not None
    return found.masked_fill(torch.isnan(found), 0.0)


def _padded(boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The outputs of NMS: rows without a score are zeros."""
    alive = (scores > 0).to(boxes.dtype)
    count = alive.sum(1, keepdim=True).to(torch.int32)
    return count, boxes * alive.unsqueeze(-1), scores, (labels * alive).to(torch.int32)


def _several(modules: Any) -> list[Any]:
    return list(modules) if isinstance(modules, nn.ModuleList) else [modules]
