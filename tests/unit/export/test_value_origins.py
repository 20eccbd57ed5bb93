"""Which numbers that Python takes from a traced tensor depend on the values of the model's inputs, and at what cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="what is traced is torch's")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from adaptrt import Dim, InputSpec, ModelSpec, OutputSpec  # noqa: E402
from adaptrt.export.tracing_hazards import HazardRecorder, recording  # noqa: E402
from adaptrt.export.value_origins import Origins  # noqa: E402

SHAPE = (2, 3, 6, 4)
SPEC = ModelSpec(inputs=(InputSpec("x", (tuple(map(Dim.fixed, SHAPE)),)),), outputs=(OutputSpec("y"),))


class Traced(nn.Module):
    def __init__(self, take: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.take = take
        self.conv = nn.Conv2d(3, 3, 1)
        self.head = nn.Linear(4, 5)
        self.register_buffer("keep", torch.tensor([True, False, True]))
        self.constant = torch.tensor([True, True, False])

    def forward(self, x: Any) -> Any:
        return self.conv(x) + float(self.take(self, x))


def recorded(net: nn.Module) -> HazardRecorder:
    """The hazards of a trace in which the weights are inputs of the graph, as in an export."""
    x = torch.rand(SHAPE) + 0.1
    with recording(SPEC, (x,)) as recorder:
        torch.jit._get_trace_graph(net.eval(), (x,))
    return recorder


def rules(take: Callable[[Any, Any], Any]) -> set[str]:
    return {hazard.rule for hazard in recorded(Traced(take)).hazards}


def found(x: Any) -> Any:
    """Rows of 4 numbers, as many as the values decide."""
    return x.reshape(-1, 4)[x.reshape(-1, 4)[:, 0] > 0]


def many(x: Any) -> Any:
    """A number that the values decide: 1 or 2."""
    return (x.mean() > 0).long() + 1


def renamed(net: Any, x: Any) -> int:
    """The tracer names a value after its variable, and gives the name to the next value of the variable."""
    first = int(x.shape[0])
    x = x[x > 0]
    return first + int(x.shape[0])


def reassigned(net: Any, x: Any) -> int:
    x = x.clone()
    x[x > 1] = 0
    return int(x.shape[1])


def boxes(x: Any) -> Any:
    corner = x.reshape(-1, 4)[:, :2]
    return torch.cat([corner, corner + 1], 1)


def suppressed(net: Any, x: Any) -> int:
    import torchvision

    return int(boxes(x)[torchvision.ops.nms(boxes(x), boxes(x)[:, 0], 0.5)].shape[0])


@pytest.mark.parametrize(
    "take",
    [
        pytest.param(lambda net, x: int(net.conv(x)[:, net.keep].shape[1]), id="mask-in-a-buffer"),
        pytest.param(lambda net, x: int(net.conv(x)[:, net.constant].shape[1]), id="constant-mask"),
        pytest.param(lambda net, x: int(net.keep.nonzero().shape[0]), id="nonzero-of-a-buffer"),
        pytest.param(lambda net, x: len(net.keep.nonzero()), id="len-of-a-buffer"),
        pytest.param(lambda net, x: int((x - x[x > 0].mean()).shape[1]), id="mean-of-all"),
        pytest.param(lambda net, x: int((x - x[x > 0].reshape(-1, 4).mean(0)).shape[3]), id="mean-along-the-axis"),
        pytest.param(lambda net, x: int((x * x[x > 0].sum(0, keepdim=True)).shape[1]), id="sum-that-keeps-the-axis"),
        pytest.param(lambda net, x: int((x / (x > 0).nonzero().shape[0]).shape[1]), id="divided-by-a-count"),
        pytest.param(lambda net, x: int(x.nonzero().shape[1]), id="coordinates-of-nonzero"),
        pytest.param(lambda net, x: int(x[x[:, 0, 0, 0] > 0].shape[1]), id="axis-after-the-mask"),
        pytest.param(lambda net, x: int(x[:, x[0, :, 0, 0] > 0].shape[0]), id="axis-before-the-mask"),
        pytest.param(lambda net, x: int((x[x > 0] + torch.ones(144)).shape[0]), id="beside-a-fixed-size"),
        pytest.param(lambda net, x: int(x[x > 0].reshape(2, 72).shape[1]), id="reshaped-to-fixed-sizes"),
        pytest.param(reassigned, id="assignment-by-a-mask"),
        pytest.param(lambda net, x: int(torch.cat([found(x), found(x)[:, :1]], 1).shape[1]), id="boxes-and-scores"),
        pytest.param(lambda net, x: int(torch.cat([x[x > 0], x[x > 0]]).reshape(-1, 4).shape[1]), id="joined-and-reshaped"),
        pytest.param(lambda net, x: int(torch.cat([found(x), torch.ones(36, 1)], -1).shape[0]), id="beside-as-many"),
        pytest.param(lambda net, x: int(net.head(found(x)).shape[1]), id="linear"),
        pytest.param(lambda net, x: int((found(x) @ net.head.weight.t()).shape[-1]), id="product"),
        pytest.param(lambda net, x: int((net.head.weight @ found(x).t()).shape[0]), id="product-from-the-left"),
        pytest.param(lambda net, x: int(torch.mm(found(x), net.head.weight.t()).shape[1]), id="mm"),
        pytest.param(lambda net, x: int((found(x).t() @ found(x)).shape[0]), id="product-over-what-was-found"),
        pytest.param(lambda net, x: int(torch.bmm(x[0], x[0].transpose(1, 2)).shape[0]), id="bmm"),
        pytest.param(lambda net, x: int(net.conv(x[x[:, 0, 0, 0] > 0]).shape[1]), id="convolution-channels"),
        pytest.param(lambda net, x: int(net.conv(x[x[:, 0, 0, 0] > 0]).shape[3]), id="convolution-sides"),
        pytest.param(lambda net, x: int(found(x).t().shape[0]), id="t"),
        pytest.param(lambda net, x: int(found(x).transpose(0, -1).shape[0]), id="transpose"),
        pytest.param(lambda net, x: int(x[x[:, 0, 0, 0] > 0].permute(1, 2, 3, 0).shape[2]), id="permute"),
        pytest.param(lambda net, x: int(found(x).unsqueeze(0).shape[2]), id="unsqueeze"),
        pytest.param(lambda net, x: int(found(x)[:, None].shape[1]), id="new-axis"),
        pytest.param(lambda net, x: int(found(x).chunk(2, 1)[0].shape[1]), id="chunk"),
        pytest.param(lambda net, x: int(found(x).split([3, 1], -1)[0].shape[1]), id="split"),
        pytest.param(lambda net, x: int(found(x)[None].unbind(2)[0].shape[0]), id="unbind"),
        pytest.param(lambda net, x: int(torch.arange(x.shape[0] * 2).shape[0]), id="range-of-a-size"),
        pytest.param(lambda net, x: int(functional.one_hot((x > 0).long(), 2).shape[-1]), id="one-hot-of-two"),
        pytest.param(lambda net, x: int(functional.one_hot((x > 0).long()).shape[0]), id="rows-of-one-hot"),
        pytest.param(lambda net, x: int(x.repeat_interleave(2, 0).shape[0]), id="repeat-interleave"),
        pytest.param(lambda net, x: int(torch.full((3,), many(x)).shape[0]), id="full-of-a-value"),
        pytest.param(lambda net, x: int(x.roll(many(x), 0).shape[0]), id="roll"),
        pytest.param(lambda net, x: int(x[many(x) - 1].shape[0]), id="selected-by-a-value"),
        pytest.param(lambda net, x: int((x * many(x)).shape[1]), id="scaled-by-a-value"),
        pytest.param(lambda net, x: int(torch.meshgrid(torch.arange(3.0), found(x)[:, 0], indexing="ij")[1].shape[0]), id="grid"),
        pytest.param(lambda net, x: int(torch.meshgrid(found(x)[:, 0], torch.arange(3.0), indexing="xy")[0].shape[0]), id="grid-xy"),
    ],
)  # fmt: skip
def test_sizes_that_values_do_not_decide(take: Callable[[Any, Any], Any]) -> None:
    assert "traced-value" not in rules(take)


@pytest.mark.parametrize(
    "take",
    [
        pytest.param(lambda net, x: len(x.nonzero()), id="len"),
        pytest.param(lambda net, x: int(x.nonzero().shape[0]), id="nonzero"),
        pytest.param(lambda net, x: int(x.nonzero(as_tuple=True)[0].shape[0]), id="nonzero-as-a-tuple"),
        pytest.param(lambda net, x: int(torch.where(x > 0)[0].shape[0]), id="where"),
        pytest.param(lambda net, x: int(x[x > 0].shape[0]), id="mask"),
        pytest.param(lambda net, x: int(x[x > 0].size(-1)), id="mask-from-the-end"),
        pytest.param(lambda net, x: int(x[:, x[0, :, 0, 0] > 0].shape[1]), id="mask-of-an-axis"),
        pytest.param(lambda net, x: int(x.masked_select(x > 0).shape[0]), id="masked-select"),
        pytest.param(lambda net, x: int(torch.unique(x).shape[0]), id="unique"),
        pytest.param(lambda net, x: int(net.conv.weight.view(-1)[(x[0, 0, 0] > 0).nonzero()].shape[0]), id="weights"),
        pytest.param(lambda net, x: int((x[x > 0] * 2).relu().shape[0]), id="elementwise"),
        pytest.param(lambda net, x: int((x[x > 0] + net.keep[:1]).shape[0]), id="beside-a-size-of-one"),
        pytest.param(lambda net, x: int(x[x > 0].reshape(-1, 4).shape[0]), id="reshaped"),
        pytest.param(lambda net, x: int(x[x > 0].reshape(-1, 4).t().shape[1]), id="transposed"),
        pytest.param(lambda net, x: int(x[x > 0].reshape(-1, 4).mean(1).shape[0]), id="mean-along-another-axis"),
        pytest.param(lambda net, x: int(torch.cat([x[x > 0], x.reshape(-1)]).shape[0]), id="joined"),
        pytest.param(lambda net, x: int(torch.zeros(x.nonzero().shape[0], 3).shape[0]), id="as-many-as-found"),
        pytest.param(lambda net, x: int(torch.arange(x.nonzero().shape[0] * 2).shape[0]), id="range-of-a-count"),
        pytest.param(lambda net, x: int(x.reshape(-1)[: x.nonzero().shape[0]].shape[0]), id="slice-to-a-count"),
        pytest.param(renamed, id="a-variable-assigned-again"),
        pytest.param(lambda net, x: int(torch.cat([found(x), found(x)], 1).shape[0]), id="joined-along-another-axis"),
        pytest.param(lambda net, x: int(torch.cat([x.reshape(-1, 4), found(x)], -2).shape[0]), id="joined-with-a-fixed-one"),
        pytest.param(lambda net, x: int(net.head(found(x)).shape[0]), id="linear"),
        pytest.param(lambda net, x: int((found(x) @ net.head.weight.t()).shape[0]), id="product"),
        pytest.param(lambda net, x: int((found(x)[None] @ net.head.weight.t()).shape[1]), id="product-with-an-axis-more"),
        pytest.param(lambda net, x: int((found(x)[:, None] @ net.head.weight.t()).shape[0]), id="product-of-a-batch"),
        pytest.param(lambda net, x: int((net.head.weight @ found(x).t()).shape[1]), id="product-from-the-left"),
        pytest.param(lambda net, x: int(net.conv(x[x[:, 0, 0, 0] > 0]).shape[0]), id="convolution"),
        pytest.param(lambda net, x: int(net.conv(x[:, :, x[0, 0, :, 0] > 0]).shape[2]), id="convolution-sides"),
        pytest.param(lambda net, x: int(found(x).transpose(0, -1).shape[1]), id="transpose"),
        pytest.param(lambda net, x: int(x[x[:, 0, 0, 0] > 0].permute(1, 2, 3, -4).shape[3]), id="permute"),
        pytest.param(lambda net, x: int(found(x).unsqueeze(-1).shape[0]), id="unsqueeze"),
        pytest.param(lambda net, x: int(found(x).unsqueeze(0).shape[1]), id="unsqueeze-before"),
        pytest.param(lambda net, x: float(x[x > 0].mean()), id="the-values-themselves"),
        pytest.param(lambda net, x: int(found(x).chunk(2, 1)[0].shape[0]), id="chunk"),
        pytest.param(lambda net, x: int(found(x)[None].unbind(2)[0].shape[1]), id="unbind"),
        pytest.param(lambda net, x: int(x[x > 0].chunk(2)[0].shape[0]), id="chunk-of-what-was-found"),
        pytest.param(lambda net, x: int(torch.arange(many(x)).shape[0]), id="range-to-a-value"),
        pytest.param(lambda net, x: int(torch.zeros((many(x), 2)).shape[0]), id="zeros"),
        pytest.param(lambda net, x: int(torch.full((many(x),), 1.0).shape[0]), id="full"),
        pytest.param(lambda net, x: int(x.expand(many(x), *SHAPE).shape[0]), id="expand"),
        pytest.param(lambda net, x: int(functional.pad(x, (0, many(x))).shape[3]), id="pad"),
        pytest.param(lambda net, x: int(x.reshape(-1).topk(many(x))[0].shape[0]), id="topk"),
        pytest.param(lambda net, x: int(functional.one_hot((x > 0).long()).shape[-1]), id="one-hot"),
        pytest.param(lambda net, x: int(x.repeat_interleave((x[:, 0, 0, 0] > 0) + 1, 0).shape[0]), id="repeat-interleave"),
        pytest.param(lambda net, x: int(torch.repeat_interleave((x > 0).reshape(-1).long()).shape[0]), id="as-often"),
        pytest.param(lambda net, x: int(x.reshape(-1).tensor_split(many(x)[None])[0].shape[0]), id="tensor-split"),
        pytest.param(lambda net, x: int(torch.meshgrid(torch.arange(3.0), found(x)[:, 0], indexing="ij")[1].shape[1]), id="grid"),
        pytest.param(lambda net, x: int(torch.meshgrid(found(x)[:, 0], torch.arange(3.0), indexing="xy")[1].shape[1]), id="grid-xy"),
        pytest.param(lambda net, x: int(torch.broadcast_tensors(found(x)[None, :, 0], x.new_ones(3, 1))[1].shape[1]), id="broadcast-tensors"),
        pytest.param(lambda net, x: int(torch.split_with_sizes(x.reshape(-1), [many(x), x.numel() - many(x)])[0].shape[0]), id="split-by-values"),
    ],
)  # fmt: skip
def test_sizes_that_values_decide(take: Callable[[Any, Any], Any]) -> None:
    assert rules(take) == {"traced-value"}


def test_how_many_boxes_nms_keeps() -> None:
    pytest.importorskip("torchvision", reason="the operator is torchvision's")
    assert rules(suppressed) == {"traced-value"}


class Deep(nn.Module):
    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(layers))

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x) * int(x.shape[1])
        return x


def test_each_value_of_a_trace_is_visited_once(monkeypatch: pytest.MonkeyPatch) -> None:
    visits = 0
    found = Origins._found

    def counted(self: Origins, value: Any) -> Any:
        nonlocal visits
        visits += 1
        return found(self, value)

    monkeypatch.setattr(Origins, "_found", counted)
    costs = []
    for layers in (10, 20, 40):
        visits = 0
        recorded(Deep(layers))
        costs.append(visits)
    assert costs[2] - costs[1] == 2 * (costs[1] - costs[0]) > 0


def test_what_is_known_of_one_trace_says_nothing_of_the_next() -> None:
    x = torch.rand(SHAPE) + 0.1
    with recording(SPEC, (x,)) as recorder:
        for take in (lambda net, x: int(x.shape[0]), lambda net, x: int(x[x > 0].shape[0])):
            assert not recorder.hazards
            torch.jit._get_trace_graph(Traced(take).eval(), (x,))
    assert {hazard.rule for hazard in recorder.hazards} == {"traced-value"}
