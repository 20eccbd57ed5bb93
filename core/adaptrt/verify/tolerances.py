"""What is accepted, by unit and precision, unless an adapter knows better."""

from __future__ import annotations

from adaptrt.specs import OutputGroup, Tolerance, Unit

# float32 says how far reordered sums may drift; the lower precisions say what their own rounding costs
_DEFAULTS: dict[str, dict[Unit, Tolerance]] = {
    "fp32": {
        "pixels": Tolerance(0.05, reason="a twentieth of a pixel moves no box"),
        "scores": Tolerance(1e-4, reason="below what any threshold resolves"),
        "logits": Tolerance(1e-4, 1e-4, "float32 sums in another order"),
        "values": Tolerance(1e-6, 1e-4, "float32 sums in another order, against the largest value"),
    },
    "tf32": {
        "pixels": Tolerance(1.0, reason="10 bits of mantissa in products"),
        "scores": Tolerance(0.01, reason="10 bits of mantissa in products"),
        "logits": Tolerance(0.01, 0.01, "10 bits of mantissa in products"),
        "values": Tolerance(1e-3, 0.01, "10 bits of mantissa in products"),
    },
    "fp16": {
        "pixels": Tolerance(
            4.0, reason="10 bits of mantissa; the worst of thousands of boxes is one that shows nothing"
        ),
        "scores": Tolerance(0.02, reason="10 bits of mantissa through the whole network"),
        "logits": Tolerance(0.02, 0.02, "10 bits of mantissa through the whole network"),
        "values": Tolerance(1e-3, 0.02, "10 bits of mantissa through the whole network"),
    },
    "bf16": {
        "pixels": Tolerance(
            16.0, reason="7 bits of mantissa; the worst of thousands of boxes is one that shows nothing"
        ),
        "scores": Tolerance(0.2, reason="7 bits of mantissa through the whole network"),
        "logits": Tolerance(0.1, 0.1, "7 bits of mantissa through the whole network"),
        "values": Tolerance(1e-2, 0.1, "7 bits of mantissa through the whole network"),
    },
    "int8": {
        "pixels": Tolerance(16.0, reason="8 bits; hold it against a metric on real pictures"),
        "scores": Tolerance(0.2, reason="8 bits; hold it against a metric on real pictures"),
        "logits": Tolerance(0.2, 0.2, "8 bits; hold it against a metric on real pictures"),
        "values": Tolerance(0.05, 0.2, "8 bits; hold it against a metric on real pictures"),
    },
}

BATCH_HONESTY = Tolerance(0.0, 1e-5, "a sample does not depend on its neighbours; kernels may reorder sums")


def tolerance_of(group: OutputGroup, precision: str) -> Tolerance:
    """The adapter's tolerance for this group and precision, else the unit's."""
    own = (group.tolerances or {}).get(precision)
    return own or _DEFAULTS[precision][group.unit]
