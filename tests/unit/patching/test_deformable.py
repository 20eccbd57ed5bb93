"""Deformable attention as gathers: equal to grid_sample in eager mode, and through both exporters."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs torch")
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from adaptrt.patching.deformable import deformable_attention  # noqa: E402

SIZES = [(6, 9), (3, 5), (1, 2)]
HEADS, WIDTH, QUERIES, POINTS = 2, 4, 7, 3


def by_grid_sample(value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """What Ultralytics and mmcv compute."""
    batch, samples = value.shape[0], []
    levels = value.permute(0, 2, 3, 1).flatten(0, 1).split([h * w for h, w in SIZES], -1)
    grids = (2 * locations - 1).permute(0, 2, 1, 3, 4).flatten(0, 1).split(POINTS, -2)
    for cells, grid, (h, w) in zip(levels, grids, SIZES, strict=True):
        level = cells.reshape(batch * HEADS, WIDTH, h, w)
        samples.append(functional.grid_sample(level, grid, align_corners=False))
    shares = weights.permute(0, 2, 1, 3).reshape(batch * HEADS, 1, QUERIES, -1)
    found = (torch.cat(samples, -1) * shares).sum(-1)
    return found.view(batch, HEADS * WIDTH, QUERIES).transpose(1, 2)


def drawn(batch: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Values, locations inside of the maps and outside of them, on their edges too, and weights."""
    random = torch.Generator().manual_seed(seed)
    value = torch.randn(batch, sum(h * w for h, w in SIZES), HEADS, WIDTH, generator=random)
    locations = torch.rand(batch, QUERIES, HEADS, len(SIZES) * POINTS, 2, generator=random) * 1.6 - 0.3
    locations[:, 0], locations[:, 1], locations[:, 2] = 0.0, 1.0, 0.5
    weights = torch.rand(batch, QUERIES, HEADS, len(SIZES) * POINTS, generator=random).softmax(-1)
    return value, locations, weights


class Attention(nn.Module):
    def forward(self, value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        return deformable_attention(value, SIZES, locations, weights)


@pytest.mark.parametrize("batch", [1, 3])
def test_it_is_what_grid_sample_gives(batch: int) -> None:
    for seed in range(5):
        value, locations, weights = drawn(batch, seed)
        expected = by_grid_sample(value, locations, weights)
        torch.testing.assert_close(
            deformable_attention(value, SIZES, locations, weights), expected, atol=2e-6, rtol=1e-5
        )
        assert float(expected.abs().max()) > 0.1


def test_sizes_that_do_not_fit() -> None:
    value, locations, weights = drawn(1)
    with pytest.raises(ValueError, match="do not fit"):
        deformable_attention(value, SIZES[:2], locations, weights)


@pytest.mark.parametrize("dynamo", [False, pytest.param(True, marks=pytest.mark.full)])
def test_both_exporters(dynamo: bool, tmp_path: Path) -> None:
    """At a dynamic batch, with ordinary operators only."""
    onnx = pytest.importorskip("onnx", reason="writes the graph")
    ort = pytest.importorskip("onnxruntime", reason="runs the graph")
    names = ["value", "locations", "weights"]
    if dynamo:
        pytest.importorskip("onnxscript", reason="dynamo needs it")
        axes: dict[str, object] = {"dynamic_shapes": tuple({0: "batch"} for _ in names)}
    else:
        axes = {"dynamic_axes": {name: {0: "batch"} for name in names}}
    file = tmp_path / "attention.onnx"
    torch.onnx.export(
        Attention().eval(), drawn(2), str(file), input_names=names, output_names=["out"],
        opset_version=18 if dynamo else 17, dynamo=dynamo, **axes,
    )  # fmt: skip
    operators = {node.op_type for node in onnx.load(str(file)).graph.node}
    assert "GatherElements" in operators
    assert not operators & {"GridSample", "Shape", "NonZero", "Loop", "If", "ScatterND"}, operators
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for batch in (1, 2, 3):
        inputs = drawn(batch, batch)
        (found,) = session.run(None, {name: array.numpy() for name, array in zip(names, inputs, strict=True)})
        torch.testing.assert_close(torch.from_numpy(found), by_grid_sample(*inputs), atol=2e-6, rtol=1e-5)


class LargeAttention(nn.Module):
    """One map of more cells than half precision counts to."""

    def forward(self, value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        return deformable_attention(value, [(60, 90)], locations, weights)


@pytest.mark.full
def test_positions_and_indices_stay_float32_in_half_precision(tmp_path: Path) -> None:
    for module in ("onnx", "onnxruntime"):
        pytest.importorskip(module, reason=f"the graph needs {module}")
    import onnxruntime

    from adaptrt.graph.reduced_precision import write_emulated, write_reduced
    from adaptrt.onnxfile.files import OnnxFiles
    from adaptrt.specs import precision_named

    random = torch.Generator().manual_seed(0)
    given = (
        torch.randn(2, 5400, HEADS, WIDTH, generator=random),
        torch.rand(2, QUERIES, HEADS, POINTS, 2, generator=random),
        torch.rand(2, QUERIES, HEADS, POINTS, generator=random).softmax(-1),
    )
    source, half, emulated = (tmp_path / f"{name}.onnx" for name in ("source", "half", "emulated"))
    names = ["value", "locations", "weights"]
    torch.onnx.export(
        LargeAttention(), given, str(source), input_names=names, dynamo=False, opset_version=17, verbose=False
    )
    files = OnnxFiles()
    typing, _ = write_reduced(source, half, precision_named("fp16"), None, files)
    write_emulated(half, emulated, files)
    session = onnxruntime.InferenceSession(str(emulated), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {name: tensor.numpy() for name, tensor in zip(names, given, strict=True)})
    torch.testing.assert_close(torch.from_numpy(found), LargeAttention()(*given), atol=0.01, rtol=0.01)
    assert typing.kept["coordinates"]
    assert typing.low > 5
