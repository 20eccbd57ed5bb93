"""bfloat16: the range of float32 with 7 bits of mantissa."""

from adaptrt.specs.precisions.precision import Precision
from adaptrt.specs.tensors import Tolerance

_REASON = "7 bits of mantissa through the whole network"

PRECISION = Precision(
    name="bf16",
    bits=16,
    form="cast",
    onnx_type="bfloat16",
    tolerances={
        "pixels": Tolerance(
            16.0, reason="7 bits of mantissa; the box with the largest error, out of thousands, contains no object"
        ),
        "scores": Tolerance(0.2, reason=_REASON),
        "logits": Tolerance(0.1, 0.1, _REASON),
        "values": Tolerance(1e-2, 0.1, _REASON),
    },
    limits={
        "box_iou": 0.75,
        "score": 0.1,
        "pixel_accuracy": 0.95,
        "miou": 0.8,
        "mask_iou": 0.9,
        "oks": 0.95,
        "rotated_iou": 0.8,
    },
    perturbation=2**-8,
)
