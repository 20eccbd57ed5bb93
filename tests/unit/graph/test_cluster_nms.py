"""The three forms of NMS on the same boxes: numpy's, nodes in a graph, and the module for networks that go on after NMS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from adaptrt.export.cluster_nms import ClusterNms, moved_apart
from adaptrt.export.torch_onnx import export_onnx
from adaptrt.graph.nms import nms_alone
from adaptrt.graph.nms_plan import NmsPlan
from adaptrt.graph.passes import standard_passes
from adaptrt.onnxfile.node_rules import in_nms
from adaptrt.specs import Dim, InputSpec, ModelSpec, OutputSpec
from adaptrt.specs.layouts import BoxLayout, Extra, Part
from adaptrt.vision.nms import largest_float32_up_to, nms_by_class

BATCH, COUNT, CLASSES, CONF = 2, 24, 3, 0.25
# few corners and scores, so that boxes are equal, touch, contain each other, have no area, and lie at the limit of the IoU
STEPS = st.integers(0, 6)
BOX = st.tuples(STEPS, STEPS, STEPS, STEPS, st.integers(0, 8), st.integers(0, CLASSES - 1))
IMAGES = st.lists(st.lists(BOX, min_size=COUNT, max_size=COUNT), min_size=BATCH, max_size=BATCH)


def arrays(images: list[list[tuple[int, ...]]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes [B, K, 4], scores [B, K] and labels [B, K]."""
    values = np.array(images)
    corner, size = values[..., :2] * 4, values[..., 2:4] * 4
    boxes = np.concatenate([corner, corner + size], 2).astype(np.float32)
    return boxes, (values[..., 4] / 8).astype(np.float32), values[..., 5].astype(np.int64)


def by_numpy(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, iou: float, agnostic: bool) -> list[list[int]]:
    """For each image, what NMS keeps of the boxes above the confidence, the best first."""
    found = []
    for row in range(len(boxes)):
        some = np.flatnonzero(scores[row] > CONF)
        kept = nms_by_class(
            boxes[row, some], scores[row, some], labels[row, some], iou=iou, agnostic=agnostic, class_offset=None
        )
        found.append(some[kept].tolist())
    return found


class Network(nn.Module):
    """What goes on in a network: candidates, NMS, and a value that depends on it."""

    def __init__(self, iou: float, rounds: int, agnostic: bool) -> None:
        super().__init__()
        self.suppress = ClusterNms()
        self.iou, self.rounds, self.agnostic = iou, rounds, agnostic

    def forward(
        self, boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        candidates = (scores > CONF).to(boxes.dtype)
        index = torch.arange(COUNT).unsqueeze(0)
        moved = boxes if self.agnostic else moved_apart(boxes, labels, candidates)
        keep, final = self.suppress(moved, scores, index, candidates, self.iou, self.rounds)
        return keep * scores, final


def by_module(given: tuple[np.ndarray, ...], network: Network) -> tuple[list[list[int]], list[bool]]:
    with torch.inference_mode():
        kept, final = network(*map(torch.from_numpy, given))
    return ranked(kept.numpy()), final[:, 0].bool().tolist()


def ranked(kept: np.ndarray) -> list[list[int]]:
    """Indices of the values above zero, the highest first, of equals the first."""
    order = np.argsort(-kept, axis=1, kind="stable")
    return [row[values[row] > 0].tolist() for row, values in zip(order, kept, strict=True)]


def by_graph(given: tuple[np.ndarray, ...], network: Network) -> tuple[list[list[int]], list[bool]]:
    boxes, scores, labels = given
    plan = NmsPlan(
        conf=CONF, iou=float(largest_float32_up_to(network.iou)), max_det=COUNT, candidates=COUNT, rounds=network.rounds,
        agnostic=network.agnostic, multi_label=False, class_offset=None,
    )  # fmt: skip
    by_class = np.where(labels[..., None] == np.arange(CLASSES), scores[..., None], np.float32(0))
    # each box carries its number, so that the rows of the outputs are known
    layout = BoxLayout(Part("boxes"), Part("scores"), extras=(Extra("numbers", "det_numbers", Part("numbers")),))
    numbers = np.broadcast_to(np.arange(COUNT, dtype=np.float32)[:, None], (len(boxes), COUNT, 1)).copy()
    inputs = {"boxes": boxes, "scores": by_class, "numbers": numbers}
    model = nms_alone([(name, ["batch", *array.shape[1:]]) for name, array in inputs.items()], layout, plan)
    found = run(model.SerializeToString(), inputs)
    counts = found["num_dets"][:, 0]
    kept = [found["det_numbers"][row, :count, 0].astype(int).tolist() for row, count in enumerate(counts)]
    return kept, found["nms_converged"][:, 0].astype(bool).tolist()


def run(model: bytes | str, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return dict(zip([value.name for value in session.get_outputs()], session.run(None, inputs), strict=True))


def chain(length: int) -> tuple[np.ndarray, ...]:
    """Each box overlaps only its neighbors by more than 0.4, with falling scores."""
    left = 4 * np.arange(length, dtype=np.float32)
    boxes = np.stack([left, 0 * left, left + 10, 0 * left + 10], 1)
    scores = np.linspace(0.9, 0.5, length, dtype=np.float32)
    given = boxes[None], scores[None], np.zeros((1, length), np.int64)
    return tuple(np.repeat(part, BATCH, 0) for part in given)


@pytest.mark.parametrize(("rounds", "final"), [(COUNT - 2, False), (COUNT - 1, True)])
def test_a_chain_longer_than_the_rounds_is_reported(rounds: int, final: bool) -> None:
    given, network = chain(COUNT), Network(0.4, rounds, True)
    assert by_module(given, network) == by_graph(given, network)
    kept, settled = by_module(given, network)
    assert settled == [final] * BATCH
    assert (kept == by_numpy(*given, iou=0.4, agnostic=True)) is final


@given(
    images=IMAGES,
    iou=st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.7]),
    rounds=st.integers(1, 12),
    agnostic=st.booleans(),
)
@settings(max_examples=60, deadline=None)
@example(images=[[(0, 0, 4, 4, 8, 0)] * COUNT] * BATCH, iou=0.5, rounds=1, agnostic=False).via("ties alone")
@example(images=[[(0, 0, 0, 0, 8, 0)] * COUNT] * BATCH, iou=0.0, rounds=1, agnostic=True).via("boxes without area")
@example(images=[[(0, 0, 4, 4, 0, 0)] * COUNT] * BATCH, iou=0.5, rounds=1, agnostic=False).via("no candidates")
def test_all_forms_keep_the_same_boxes_in_the_same_order(images: Any, iou: float, rounds: int, agnostic: bool) -> None:
    given, network = arrays(images), Network(iou, rounds, agnostic)
    expected = by_numpy(*given, iou=iou, agnostic=agnostic)
    module, final = by_module(given, network)
    graph, converged = by_graph(given, network)
    assert (graph, converged) == (module, final), "also of what is not final"
    assert [kept for kept, settled in zip(module, final, strict=True) if settled] == [
        kept for kept, settled in zip(expected, final, strict=True) if settled
    ]
    many = Network(iou, COUNT, agnostic)
    assert by_module(given, many) == (expected, [True] * BATCH), "as many rounds as boxes are always enough"


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_exporters_write_it_with_its_name_and_a_dynamic_batch(exporter: Any, tmp_path: Path) -> None:
    """After all passes; by its name, nodes stay float32."""
    batch, network = Dim(1, 2, 4, "batch"), TwoOf(0.3, 4, False)
    row = (batch, Dim.fixed(COUNT))
    spec = ModelSpec(
        (
            InputSpec("boxes", ((*row, Dim.fixed(4)),)),
            InputSpec("scores", (row,)),
            InputSpec("labels", (row,), "int64"),
        ),
        outputs=(OutputSpec("kept"), OutputSpec("final")),
    )
    given = [np.concatenate(parts) for parts in zip(random_images(0), random_images(1), strict=True)]
    inputs = dict(zip(("boxes", "scores", "labels"), given, strict=True))
    traced = {name: torch.from_numpy(value[:2]) for name, value in inputs.items()}
    path = tmp_path / "net.onnx"
    export_onnx(network, traced, spec, path, exporter=exporter, opset=18 if exporter == "dynamo" else 17)
    model, notes = ir.load(path), ""
    for one in sorted(standard_passes(with_onnxsim=True), key=lambda one: one.order):
        model = one.run(model) or model
        notes += model.metadata_props.pop(f"adaptrt.note.{one.name}", "")
    assert notes == "onnxsim"
    assert not {node.op_type for node in model.graph.all_nodes()} & {"NonMaxSuppression", "NonZero", "Loop", "If"}
    names = [node.name or "" for node in model.graph if node.op_type in {"MatMul", "Less", "Div", "Max"}]
    assert len(names) > 20
    assert [name for name in names if not in_nms(name)] == []
    found = run(ir.to_proto(model).SerializeToString(), inputs)
    with torch.inference_mode():
        expected = network(*map(torch.from_numpy, given))
    for value, wanted in zip((found["kept"], found["final"]), expected, strict=True):
        np.testing.assert_array_equal(value, wanted.numpy())
    assert 0 < (found["kept"] > 0).sum() < (given[1] > CONF).sum()


class TwoOf(Network):
    """NMS twice, and shape arithmetic, which onnxsim simplifies."""

    def forward(
        self, boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        first, _ = super().forward(boxes, scores, labels)
        second, final = super().forward(boxes + 0.5, first, labels)
        return second + torch.zeros(boxes.shape[0], 1), final


def random_images(seed: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    low, high = [0, 0, 0, 0, 0, 0], [7, 7, 7, 7, 9, CLASSES]
    return arrays(rng.integers(low, high, (BATCH, COUNT, 6)).tolist())
