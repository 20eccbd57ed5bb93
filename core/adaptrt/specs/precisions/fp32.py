"""float32, as the model was trained."""

from adaptrt.specs.precisions.precision import Precision
from adaptrt.specs.tensors import Tolerance

PRECISION = Precision(
    name="fp32",
    bits=32,
    form="none",
    onnx_type="float32",
    tolerances={
        "pixels": Tolerance(0.05, reason="0.05 px does not move a box noticeably"),
        "scores": Tolerance(1e-4, reason="smaller than the resolution of any threshold"),
        "logits": Tolerance(1e-4, 1e-4, "float32 sums in a different order"),
        "values": Tolerance(1e-6, 1e-4, "float32 sums in a different order, relative to the largest value"),
    },
    limits={
        "box_iou": 0.99,
        "score": 1e-3,
        "pixel_accuracy": 0.999,
        "miou": 0.99,
        "mask_iou": 0.98,
        "oks": 0.999,
        "rotated_iou": 0.98,
    },
    perturbation=4e-6,  # sums in a different order
)
