"""float16, half precision."""

from adaptrt.specs.precisions.precision import Precision
from adaptrt.specs.tensors import Tolerance

_REASON = "10 bits of mantissa through the whole network"

PRECISION = Precision(
    name="fp16",
    bits=16,
    form="cast",
    onnx_type="float16",
    tolerances={
        "pixels": Tolerance(
            4.0, reason="10 bits of mantissa; the box with the largest error, out of thousands, contains no object"
        ),
        "scores": Tolerance(0.02, reason=_REASON),
        "logits": Tolerance(0.02, 0.02, _REASON),
        "values": Tolerance(1e-3, 0.02, _REASON),
    },
    limits={
        "box_iou": 0.9,
        "score": 0.03,
        "pixel_accuracy": 0.99,
        "miou": 0.95,
        "mask_iou": 0.95,
        "oks": 0.99,
        "rotated_iou": 0.85,
    },
    perturbation=2**-11,
)
