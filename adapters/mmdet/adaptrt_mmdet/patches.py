"""Selects the patches for a detector of the family."""

from __future__ import annotations

from adaptrt import ModelSpec, Patch
from adaptrt_mmdet.deformable import deformable_patches
from adaptrt_mmdet.detr_patches import detr_patches
from adaptrt_mmdet.query_family import MASKED, QueryDetector
from adaptrt_mmdet.windows import window_patches


def query_patches(model: QueryDetector, spec: ModelSpec) -> list[Patch]:
    """Of transformers with full attention, or of deformable attention."""
    own = detr_patches(model, spec) if model.kind in MASKED else deformable_patches()
    return [*own, *window_patches(model.detector)]
