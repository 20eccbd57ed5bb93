"""Operations and memory traffic of a graph, compared with numbers counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_convnet import SIDE, WIDTH, write_convnet

from adaptrt import GraphError
from adaptrt.graph.work import count_work


def write_node(
    path: Path, operator: str, shapes: list[tuple[int, ...]], weight: tuple[int, ...] | None = None, **more: object
) -> Path:
    """A file with one node; ``shapes`` of its inputs."""
    names = [f"x{index}" for index in range(len(shapes))]
    inputs = [
        helper.make_tensor_value_info(*pair) for pair in zip(names, [TensorProto.FLOAT] * 9, shapes, strict=False)
    ]
    weights = [] if weight is None else [numpy_helper.from_array(np.zeros(weight, np.float32), "w")]
    node = helper.make_node(operator, [*names, *(one.name for one in weights)], ["y"], **more)
    graph = helper.make_graph(
        [node], "one", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], weights
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def test_a_network_at_two_batch_sizes(tmp_path: Path) -> None:
    path = write_convnet(tmp_path / "net.onnx")
    pixels = SIDE * SIDE
    per_image = pixels * WIDTH * 3 + pixels * WIDTH * WIDTH * 9 + WIDTH * WIDTH + WIDTH * 4
    for batch in (1, 3):
        work = count_work(path, {"images": (batch, 3, SIDE, SIDE)})
        assert work.operations == 2 * batch * per_image
        weights = WIDTH * 3 + WIDTH + WIDTH * WIDTH * 9 + WIDTH * WIDTH + 4 * WIDTH + 4
        assert work.least_bytes == 4 * (weights + batch * (3 * pixels + 4))
        assert work.node_bytes > work.least_bytes
        half = count_work(path, {"images": (batch, 3, SIDE, SIDE)}, weight_bits=16)
        assert half.least_bytes == 2 * weights + 4 * batch * (3 * pixels + 4)
        assert (half.operations, half.node_bytes) == (work.operations, work.node_bytes)


@pytest.mark.parametrize(
    ("operator", "shapes", "weight", "more", "multiply_adds"),
    [
        ("Conv", [(1, 4, 8, 8)], (6, 2, 3, 3), {"group": 2}, 6 * 6 * 6 * 2 * 9),
        ("ConvTranspose", [(1, 4, 8, 8)], (4, 6, 2, 2), {"strides": [2, 2]}, 4 * 64 * 6 * 4),
        ("MatMul", [(2, 5, 7), (2, 7, 3)], None, {}, 2 * 5 * 3 * 7),
        ("MatMul", [(2, 5, 7)], (7, 3), {}, 2 * 5 * 3 * 7),
        ("Gemm", [(5, 7)], (7, 3), {}, 5 * 3 * 7),
        ("Gemm", [(5, 7)], (3, 7), {"transB": 1}, 5 * 3 * 7),
        ("Relu", [(5, 7)], None, {}, 0),
    ],
)
def test_one_node(tmp_path: Path, operator: str, shapes: list, weight: tuple | None, more: dict, multiply_adds: int) -> None:  # fmt: skip
    path = write_node(tmp_path / "one.onnx", operator, shapes, weight, **more)
    assert count_work(path, {}).operations == 2 * multiply_adds


@pytest.mark.parametrize(
    ("operator", "domain", "name"),
    [("Einsum", "", "Einsum"), ("FusedConv", "com.microsoft", "com.microsoft.FusedConv")],
)
def test_what_is_not_counted_is_an_error(tmp_path: Path, operator: str, domain: str, name: str) -> None:
    more = {"equation": "ij,jk->ik"} if not domain else {"domain": domain}
    path = write_node(tmp_path / "one.onnx", operator, [(2, 3), (3, 4)], **more)
    with pytest.raises(GraphError, match=f"not counted: {name}"):
        count_work(path, {})
