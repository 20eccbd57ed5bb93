"""The adapter keeps adaptrt's contract: it loads, exports both ways, and is right alone and in batches."""

from __future__ import annotations

from adaptrt.testing import AdapterContract


class TestTvSeg(AdapterContract):
    adapter = "tvseg"
    source = "lraspp_mobilenet_v3_large"
    options = ("num_classes=3",)
    imgsz = "32x48"
