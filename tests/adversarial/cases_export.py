"""What the trace loses, and faults of an exporter in single nodes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from adversarial_cases import Case, Fault, change_initializer, module
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    import onnx


def at_node(operator: str, change: Callable[[onnx.ModelProto, onnx.NodeProto], None]) -> Fault:
    """A fault in the first node of this operator."""

    def fault(model: onnx.ModelProto) -> None:
        node = next(node for node in model.graph.node if node.op_type == operator)
        change(model, node)

    return fault


def dropped(operator: str) -> Fault:
    """The node becomes an Identity of its first input."""

    def change(_: onnx.ModelProto, node: onnx.NodeProto) -> None:
        node.op_type = "Identity"
        del node.input[1:]
        del node.attribute[:]

    return at_node(operator, change)


def renamed(operator: str, other: str) -> Fault:
    return at_node(operator, lambda _, node: setattr(node, "op_type", other))


def attribute(operator: str, name: str, value: Any) -> Fault:
    def change(_: onnx.ModelProto, node: onnx.NodeProto) -> None:
        from onnx import helper

        kept = [one for one in node.attribute if one.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])

    return at_node(operator, change)


def constant(operator: str, index: int, value: Any) -> Fault:
    """Another constant at an input of the node."""

    def change(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
        from onnx import numpy_helper

        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), "altered"))
        node.input[index] = "altered"

    return at_node(operator, change)


def frozen_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2


def rounded_weight(array: Any) -> Any:
    """To the 8 bits of bfloat16."""
    return (array.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def nudged(array: Any) -> Any:
    array.reshape(-1)[0] += 0.01
    return array


IMAGE = ("x=1..4x5x8x8",)
SIZES = ("x=1..4x5x5..12@8x5..12@8",)
POOLED = module(lambda self, x: self.conv(x).clamp(-0.5, 0.5).mean((2, 3)), conv=lambda: nn.Conv2d(5, 4, 3, padding=1))
CONV = module(lambda self, x: functional.leaky_relu(self.conv(x), 0.1), conv=lambda: nn.Conv2d(5, 4, 3, padding=1))
LINEAR = module(lambda self, x: self.linear(x), linear=lambda: nn.Linear(6, 4))
TWICE = module(lambda self, x: self.linear(x) * 2, linear=lambda: nn.Linear(6, 4))

FAULTS = (
    Case(name="clip-dropped", what="The exporter drops a clamp", wrong=POOLED, shapes=IMAGE, fault=dropped("Clip"), error="Link 2 .* fails"),
    Case(name="clip-bound", what="The exporter alters the bound of a clamp", wrong=POOLED, shapes=IMAGE, fault=constant("Clip", 2, np.float32(0.45)), error="Link 2 .* fails"),
    Case(
        name="axes-swapped", what="The exporter swaps two axes of equal size",
        wrong=module(lambda self, x: self.linear(x.transpose(1, 2)), linear=lambda: nn.Linear(6, 6)),
        shapes=("x=1..4x6x6",), fault=attribute("Transpose", "perm", [0, 1, 2]), error="Link 2 .* fails",
    ),
    Case(name="batch-frozen", what="The exporter fixes the batch size", wrong=LINEAR, fault=frozen_batch, error="fixed it at 2", everyday=True),
    Case(name="weight-rounded", what="The exporter rounds a weight to bfloat16", wrong=LINEAR, fault=lambda model: change_initializer(model, rounded_weight), error="Link 2 .* fails"),
    Case(name="weight-nudged", what="The exporter alters one weight by 0.01", wrong=LINEAR, fault=lambda model: change_initializer(model, nudged), error="Link 2 .* fails"),
    Case(
        name="comparison", what="The exporter replaces > with <",
        wrong=module(lambda self, x: torch.where(x > 0.5, x * 2, x)), fault=renamed("Greater", "Less"), error="Link 2 .* fails",
    ),
    Case(
        name="comparison-edge", what="The exporter replaces >= with >, which only integer inputs show",
        wrong=module(lambda self, ids: torch.where(ids >= 2, ids * 3, ids)), shapes=("ids=1..4x16",), options={"dtypes": {"ids": "int64"}, "ranges": {"ids": [0, 5]}},
        fault=renamed("GreaterOrEqual", "Greater"), error="Link 2 .* fails",
    ),
    Case(name="slope", what="The exporter alters a slope", wrong=CONV, shapes=IMAGE, fault=attribute("LeakyRelu", "alpha", 0.11), error="Link 2 .* fails"),
    Case(name="pads", what="The exporter shifts the padding of a convolution", wrong=CONV, shapes=IMAGE, fault=attribute("Conv", "pads", [0, 1, 2, 1]), error="Link 2 .* fails"),
    Case(
        name="softmax-axis", what="The exporter computes softmax over another axis",
        wrong=module(lambda self, x: self.linear(x).softmax(-1), linear=lambda: nn.Linear(6, 6)), shapes=("x=1..4x6x6",),
        fault=attribute("Softmax", "axis", 1), error="Link 2 .* fails",
    ),
    Case(
        name="gather-index", what="The exporter selects the neighboring channel",
        wrong=module(lambda self, x: self.conv(x)[:, 1], conv=lambda: nn.Conv2d(5, 4, 1)), shapes=IMAGE,
        fault=constant("Gather", 1, np.int64(2)), error="Link 2 .* fails",
    ),
    Case(
        name="rounding", what="The exporter rounds down instead of up",
        wrong=module(lambda self, x: torch.ceil(x * 10)), fault=renamed("Ceil", "Floor"), error="Link 2 .* fails",
    ),
    Case(
        name="epsilon", what="The exporter alters the epsilon of a normalization",
        wrong=module(lambda self, x: self.norm(x), norm=lambda: nn.GroupNorm(1, 5)), shapes=IMAGE,
        fault=attribute("InstanceNormalization", "epsilon", 0.05), error="Link 2 .* fails",
    ),
)  # fmt: skip


class Encoder(nn.Module):
    def __init__(self, *, nested: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=nested)

    def forward(self, x: Any, mask: Any) -> Any:
        return self.encoder(x, src_key_padding_mask=mask).mean(1)


class EndPadded(Encoder):
    def forward(self, x: Any) -> Any:  # type: ignore[override]
        mask = (torch.arange(8) >= 5).expand(x.shape[0], 8)
        return self.encoder(x, src_key_padding_mask=mask).mean(1)


def brightness(self: Any, x: Any) -> Any:
    y = self.linear(x)
    if x.mean() > 40:
        y = y * 2
    return y


def brightness_kept(self: Any, x: Any) -> Any:
    y = self.linear(x)
    return torch.where(x.mean(1, keepdim=True) > 40, y * 2, y)


def by_numpy(self: Any, x: Any) -> Any:
    y = self.linear(x)
    if x.detach().numpy().max() > 800:
        y = -y
    return y


def by_asarray(self: Any, x: Any) -> Any:
    y = self.linear(x)
    return -y if np.asarray(x).max() > 800 else y


def if_all_zero(self: Any, x: Any) -> Any:
    y = self.linear(x)
    return -y if torch.equal(x, torch.zeros_like(x)) else y


def if_nearly_zero(self: Any, x: Any) -> Any:
    y = self.linear(x)
    return -y if x.allclose(torch.zeros_like(x)) else y


def if_nonzero(self: Any, x: Any) -> Any:
    y = self.linear(x)
    return -y if torch.is_nonzero((x > 800).any()) else y


def if_any_found(self: Any, x: Any) -> Any:
    y = self.linear(x)
    return -y if len((x > 800).nonzero()) else y


def if_any_size(self: Any, x: Any) -> Any:
    y = self.linear(x)
    return -y if (x > 800).nonzero().shape[0] else y


def for_each_found(self: Any, x: Any) -> Any:
    y = self.linear(x)
    for value in x[x > 800]:
        y = y + value
    return y


def as_many_as_found(self: Any, x: Any) -> Any:
    y = self.linear(x)
    return -y if torch.arange((x > 800).sum() + 1).shape[0] > 1 else y


def by_dlpack(self: Any, x: Any) -> Any:
    y = self.linear(x)
    return -y if np.from_dlpack(x.detach()).max() > 800 else y


def by_pointer(self: Any, x: Any) -> Any:
    y = self.linear(x)
    return -y if ctypes.c_float.from_address(x.data_ptr()).value > 800 else y


def by_storage(self: Any, x: Any) -> Any:
    y = self.linear(x)
    return -y if sum(x.contiguous().untyped_storage()[:2]) > 500 else y


def caught(self: Any, x: Any) -> Any:
    y = self.linear(x)
    try:
        bright = bool(x.max() > 800)
    except Exception:
        bright = False
    return -y if bright else y


def by_threshold(self: Any, x: Any) -> Any:
    top = x.max().item()
    y = self.linear(x)
    if top > 800:
        y = y + 1
    return y


def by_list(self: Any, x: Any) -> Any:
    values = x.flatten().tolist()
    y = self.linear(x)
    return y if max(values) < 800 else y * 3


def scaled_by_item(self: Any, x: Any) -> Any:
    return self.linear(x) * x.mean().item()


def scaled_by_data(self: Any, x: Any) -> Any:
    return self.linear(x) + x.data.mean(1, keepdim=True)


def scaled_by_built(self: Any, x: Any) -> Any:
    return self.linear(x) * torch.tensor([x.mean(), 1.0]).sum()


def counted(self: Any, x: Any) -> Any:
    y = self.linear(x)
    for _ in range(int(x.abs().mean() * 10) % 7):
        y = y + 0.5
    return y


def batch_of_five(self: Any, x: Any) -> Any:
    y = self.linear(x)
    if x.shape[0] == 5:
        y = y * 2
    return y


def odd_heights(self: Any, x: Any) -> Any:
    y = self.conv(x)
    if x.shape[2] % 2:
        y = y + 1
    return y.mean((2, 3))


def over_the_batch(self: Any, x: Any) -> Any:
    y = self.linear(x)
    for index in range(x.shape[0]):
        y = y + index * 0.1
    return y


def in_export(self: Any, x: Any) -> Any:
    y = self.linear(x)
    return y * 1.01 if torch.onnx.is_in_onnx_export() else y


def while_traced(self: Any, x: Any) -> Any:
    y = self.linear(x)
    return y[:, :4] + 0.05 if torch.jit.is_tracing() else y


def in_bfloat16(self: Any, x: Any) -> Any:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return self.conv(x).float()


def linear(forward: Callable[..., Any]) -> Any:
    return module(forward, linear=lambda: nn.Linear(6, 4))


def conv(forward: Callable[..., Any]) -> Any:
    return module(forward, conv=lambda: nn.Conv2d(5, 4, 3, padding=1))


MASKED = {"dtypes": {"mask": "bool"}}

TRACED = (
    Case(
        name="padding-mask", what="Padded positions are 0 on torch's fast path and computed in the file",
        wrong=lambda: Encoder(nested=True).eval(), right=lambda: Encoder(nested=False).eval(),
        shapes=("x=B:1..5xN:4..12@8x16", "mask=B:1..5xN:4..12@8"), options=MASKED,
        request={"exporter": "dynamo"}, error="fused attention",
    ),
    Case(
        name="end-padding", what="The same with a mask that the model creates",
        wrong=lambda: EndPadded(nested=True).eval(), right=lambda: EndPadded(nested=False).eval(),
        shapes=("x=B:1..5x8x16",), error="fused attention", everyday=True,
    ),
    Case(name="branch-on-brightness", what="A branch on the mean is taken once", wrong=linear(brightness), right=linear(brightness_kept), missing="data-dependent Python code: a condition"),
    Case(name="numpy-branch", what="A branch on a NumPy array is taken once", wrong=linear(by_numpy), right=LINEAR, missing="NumPy array", everyday=True),
    Case(name="asarray-branch", what="The same through np.asarray", wrong=linear(by_asarray), right=LINEAR, missing="NumPy array"),
    Case(name="equal-branch", what="A branch on torch.equal() is taken once", wrong=linear(if_all_zero), right=LINEAR, missing=r"torch\.equal\(\)", everyday=True),
    Case(name="allclose-branch", what="The same with allclose()", wrong=linear(if_nearly_zero), right=LINEAR, missing="a condition|allclose"),
    Case(name="is-nonzero-branch", what="The same with torch.is_nonzero()", wrong=linear(if_nonzero), right=LINEAR, missing="is_nonzero"),
    Case(name="count-branch", what="A branch on the number of nonzero elements", wrong=linear(if_any_found), right=LINEAR, missing=r"len\(\)"),
    Case(
        name="count-of-fixed-shape", what="The same through the shape, for a model without dynamic axes",
        wrong=linear(if_any_size), right=LINEAR, shapes=("x=1x6",), missing="a condition",
    ),
    Case(
        name="size-from-a-value", what="The same where the shape follows from a number", wrong=linear(as_many_as_found), right=LINEAR,
        shapes=("x=1x6",), missing="a condition",
    ),
    Case(name="loop-over-found", what="A loop over the elements that a mask selects", wrong=linear(for_each_found), right=LINEAR, missing="number of parts", everyday=True),
    Case(name="dlpack-branch", what="A branch on an array that shares the tensor's memory", wrong=linear(by_dlpack), right=LINEAR, missing="DLPack"),
    Case(name="pointer-branch", what="A branch on a value that is read through the tensor's address", wrong=linear(by_pointer), right=LINEAR, missing="data_ptr"),
    Case(name="storage-branch", what="A branch on the bytes of the tensor's storage", wrong=linear(by_storage), right=LINEAR, missing="storage"),
    Case(
        name="caught-in-export", what="The model catches the error of a branch that dynamo rejects, and continues on the other side",
        wrong=linear(caught), right=LINEAR, request={"exporter": "dynamo"}, missing="catches", everyday=True,
    ),
    Case(name="threshold", what="A value from item() is used in a later condition", wrong=linear(by_threshold), right=LINEAR, missing=r"item\(\)"),
    Case(name="list-branch", what="A branch on a list of values", wrong=linear(by_list), right=LINEAR, missing=r"tolist\(\)"),
    Case(name="scaled-by-item", what="A factor is fixed to its value for the example input", wrong=linear(scaled_by_item), right=TWICE, error="Link 2 .* fails"),
    Case(name="data", what="A value computed from .data becomes a constant", wrong=linear(scaled_by_data), right=TWICE, error="Link 2 .* fails"),
    Case(name="built-tensor", what="torch.tensor() of a traced value is a constant", wrong=linear(scaled_by_built), right=TWICE, error="Link 2 .* fails"),
    Case(name="counted-loop", what="A loop whose length depends on a value", wrong=linear(counted), right=LINEAR, error="Link 2 .* fails"),
    Case(name="batch-of-five", what="The result differs for a batch of five", wrong=linear(batch_of_five), right=LINEAR, shapes=("x=1..5x6",), missing="a condition"),
    Case(name="odd-height", what="The result differs for odd heights", wrong=conv(odd_heights), right=conv(lambda self, x: self.conv(x).mean((2, 3))), shapes=SIZES, error="Link 2 .* fails"),
    Case(name="loop-over-the-batch", what="A loop over the batch is unrolled", wrong=linear(over_the_batch), right=LINEAR, error="Link 2 .* fails"),
    Case(name="in-export", what="The result differs under torch.onnx.is_in_onnx_export()", wrong=linear(in_export), right=LINEAR, error="Link 2 .* fails"),
    Case(name="while-traced", what="The result differs under torch.jit.is_tracing()", wrong=linear(while_traced), right=LINEAR, error="Link 2 .* fails"),
    Case(name="autocast", what="forward computes in bfloat16", wrong=conv(in_bfloat16), right=CONV, shapes=IMAGE, error="computes in bfloat16"),
    Case(
        name="other-exporter", what="dynamo rejects a branch, and TorchScript traces one side of it",
        wrong=linear(brightness), right=LINEAR, request={"exporter": "auto"}, missing="data-dependent Python code: a condition",
    ),
)  # fmt: skip

CASES = (*FAULTS, *TRACED)
