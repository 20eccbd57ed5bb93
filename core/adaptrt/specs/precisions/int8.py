"""int8 through QuantizeLinear and DequantizeLinear nodes."""

from adaptrt.specs.precisions.precision import Precision
from adaptrt.specs.tensors import Tolerance

_REASON = "8 bits; judge it by a metric on real images"

PRECISION = Precision(
    name="int8",
    bits=8,
    form="qdq",
    onnx_type="float32",
    tolerances={
        "pixels": Tolerance(16.0, reason=_REASON),
        "scores": Tolerance(0.2, reason=_REASON),
        "logits": Tolerance(0.2, 0.2, _REASON),
        "values": Tolerance(0.05, 0.2, _REASON),
    },
    limits={
        "box_iou": 0.75,
        "score": 0.1,
        "pixel_accuracy": 0.95,
        "miou": 0.8,
        "mask_iou": 0.8,
        "oks": 0.9,
        "rotated_iou": 0.7,
    },
    perturbation=2**-7,
    rest="fp16",
)
