"""What is checked of ``--nms`` before the network has run: the sizes of its outputs are not known yet."""

from __future__ import annotations

import pytest

from adaptrt import DecoderSpec, InputSpec, ModelSpec, NmsRequest, OutputSpec, Request, UsageError
from adaptrt.pipeline.graph_nms import require_nms

REQUEST = Request("net", "torch", nms=NmsRequest())


def spec(decoder: DecoderSpec, *outputs: str) -> ModelSpec:
    return ModelSpec((InputSpec.image(64, 64),), tuple(map(OutputSpec, outputs)), decoder=decoder)


@pytest.mark.parametrize("name", ["yolo", "yolo_segment", "yolo_pose", "yolo_obb"])
def test_outputs_of_unknown_size_are_accepted(name: str) -> None:
    require_nms(REQUEST, spec(DecoderSpec(name), "output0", "output1"))


def test_outputs_without_nms_are_refused() -> None:
    with pytest.raises(UsageError, match="selects without NMS"):
        require_nms(REQUEST, spec(DecoderSpec("yolo_segment", {"rows": "end2end", "iou": None}), "output0", "output1"))
