"""What NMS in the graph guarantees, in the words of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adaptrt.request import NmsRequest
    from adaptrt.specs.layouts import BoxLayout

CLIPPED_TO_INPUT = (
    "NMS in the graph clips boxes to the network's input; the decoder clips them to the image, which ends where padding begins. In "
    "images with padding, boxes that extend into it may be selected differently, and boxes inside the padding are returned with an "
    "area of 0; predict and evaluate warn of such images. Use images that fill the input, or omit --nms."
)


def describe(request: NmsRequest, layout: BoxLayout) -> str:
    """What the appended NMS guarantees, for the report."""
    if layout.angle is not None:
        return (
            f"NMS in the graph: Fast NMS of rotated boxes on the {request.candidates} highest-scoring candidates, as in Ultralytics; "
            "one round is exact."
        )
    if request.kind == "efficient":
        return (
            "NMS in the graph: plugin EfficientNMS_TRT. ONNX Runtime cannot run it, so only the outputs before it are "
            "compared there; a built engine is compared as a whole (links 4 and 5)."
        )
    if request.kind == "onnx":
        return f"NMS in the graph: NonMaxSuppression on the {request.candidates} highest-scoring candidates."
    limit = (
        f"NMS in the graph: Cluster-NMS on the {request.candidates} highest-scoring candidates in {request.rounds} rounds, exact for "
        f"chains of up to {request.rounds + 1} boxes in which each box overlaps the next"
    )
    if request.schema == "efficient":
        return f"{limit}; without nms_converged, the outputs do not show whether an image has a longer chain."
    return f"{limit}; nms_converged is 0 for an image with a longer chain."
