"""TensorFloat-32: float32 with 10 bits of mantissa in products."""

from adaptrt.specs.precisions.precision import Precision
from adaptrt.specs.tensors import Tolerance

_REASON = "10 bits of mantissa in products"

PRECISION = Precision(
    name="tf32",
    bits=32,
    form="none",
    onnx_type="float32",
    tolerances={
        "pixels": Tolerance(1.0, reason=_REASON),
        "scores": Tolerance(0.01, reason=_REASON),
        "logits": Tolerance(0.01, 0.01, _REASON),
        "values": Tolerance(1e-3, 0.01, _REASON),
    },
    limits={
        "box_iou": 0.95,
        "score": 0.01,
        "pixel_accuracy": 0.995,
        "miou": 0.97,
        "mask_iou": 0.95,
        "oks": 0.99,
        "rotated_iou": 0.9,
    },
    perturbation=2**-11,
)
