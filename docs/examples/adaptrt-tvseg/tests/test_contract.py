"""Runs adaptrt's adapter contract: loading, both exporters, and correct results for single samples and batches."""

from __future__ import annotations

from adaptrt.testing import AdapterContract


class TestTvSeg(AdapterContract):
    adapter = "tvseg"
    source = "lraspp_mobilenet_v3_large"
    options = ("num_classes=3",)
    imgsz = "32x48"
