"""The section on what a GPU computes and copies at most, of the measurements page."""

from __future__ import annotations

from benchmarks.common.results import markdown, read

DATA_SHEET = {"fp32": 67, "tf32": 495, "fp16": 990, "bf16": 990, "int8": 1979}
"""Tera-operations per second of an NVIDIA H200 (SXM) without sparsity, from NVIDIA's data sheet: half of the numbers with sparsity there, but for fp32."""
BANDWIDTH = 4.8
"""TB/s."""


def gpu_peaks() -> list[str]:
    kept = read("gpu_peaks")
    rows = [
        [
            name,
            f"{one['operations'] / 1e12:.0f}",
            DATA_SHEET[name],
            f"{one['operations'] / 1e12 / DATA_SHEET[name]:.2f}",
        ]
        for name, one in kept["peaks"].items()
    ]
    bytes_copied = max(one["bytes"] for one in kept["peaks"].values()) / 1e12
    return [
        "## Measured peaks of a GPU",
        "",
        "`adaptrt bench` compares an engine with what the GPU was measured to do in the same run: matrix products on its tensor cores, or multiply-adds in",
        "fp32, and a copy in its memory (`benchmarks/gpu/peaks.py`; TFLOP/s, TOP/s in int8, beside those of NVIDIA's data sheet for dense matrices):",
        "",
        *markdown(["precision", "measured", "data sheet", "share"], rows),
        "",
        f"The copy reads and writes {bytes_copied:.2f} TB/s; the data sheet says {BANDWIDTH} ({bytes_copied / BANDWIDTH:.2f} of it). {kept['machine']}, {kept['date']}.",
    ]
