"""Selects the patches for a detector of the family."""

from __future__ import annotations

from adaptrt import ModelSpec, Patch
from adaptrt_mmdet.detr_patches import detr_patches
from adaptrt_mmdet.query_family import MASKED, QueryDetector


def query_patches(model: QueryDetector, spec: ModelSpec) -> list[Patch]:
    """None for Deformable-DETR and DINO: they export as they are."""
    return detr_patches(model, spec) if model.kind in MASKED else []
