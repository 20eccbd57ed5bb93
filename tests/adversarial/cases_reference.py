"""The reference itself, what it is compared on, and what a limit lets pass."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from adversarial_cases import Case, append_node, module, scale_output
from torch import nn
from torch.nn import functional

LINEAR = module(lambda self, x: self.linear(x), linear=lambda: nn.Linear(6, 4))
LINK_2 = "Link 2 .* fails"


class Noise(nn.Module):
    def forward(self, x: Any) -> Any:
        return x + 0.01 * torch.randn_like(x)


def counts_in_a_buffer(self: Any, x: Any) -> Any:
    self.calls.add_(1.0)
    return self.linear(x) + 0.01 * self.calls


def moves_an_average(self: Any, x: Any) -> Any:
    self.average.mul_(0.9).add_(0.1 * x.mean(0))
    return self.linear(x - self.average)


def turns_after_50_calls(self: Any, x: Any) -> Any:
    self.calls += 1
    y = self.linear(x)
    return -y if self.calls > 50 else y


def turns_after_a_large_value(self: Any, x: Any) -> Any:
    self.largest = torch.maximum(self.largest, x.max())
    y = self.linear(x)
    return torch.where(self.largest > 800, -y, y)


def remembers_the_last_input(self: Any, x: Any) -> Any:
    y = torch.where(self.held["last"] > 800, -self.linear(x), self.linear(x))
    self.held["last"] = x.max()
    return y


def clamps_its_input(self: Any, x: Any) -> Any:
    x.data.clamp_(min=0.25)
    return self.linear(x)


def clips_its_input_with_numpy(self: Any, x: Any) -> Any:
    array = x.detach().numpy()
    np.clip(array, 0.25, None, out=array)
    return self.linear(x)


def scales_its_input(self: Any, x: Any) -> Any:
    return self.linear(x.mul_(0.5))


def one_row_reads_another(self: Any, x: Any) -> Any:
    y = self.linear(x)
    return torch.cat((y[:1], y[1:2] + y[2:3], y[2:]))


def nan_bias() -> nn.Module:
    model = LINEAR()
    with torch.no_grad():
        model.linear.bias[1] = torch.nan
    return model


def mostly_nan(self: Any, x: Any) -> Any:
    return torch.where(x > 0.8, x, torch.full_like(x, torch.nan))


def with_sentinel(value: float) -> Any:
    hidden = torch.tensor([True, False, False, False])
    return module(
        lambda self, x: self.linear(x).masked_fill(self.hidden, value), linear=lambda: nn.Linear(6, 4), hidden=hidden
    )


def raw_detections(self: Any, x: Any) -> Any:
    y = self.conv(x).flatten(2)
    return torch.cat((y[:, :4].sigmoid() * 600, y[:, 4:].sigmoid()), 1)


def constant_scores(self: Any, x: Any) -> Any:
    y = self.conv(x).flatten(2)
    return torch.cat((y[:, :4].sigmoid() * 600, 0.25 + 0 * y[:, 4:]), 1)


def ceil_by_negation(self: Any, x: Any) -> Any:
    height, width = x.shape[-2:]
    return functional.interpolate(x, size=(-(-height // 2), -(-width // 2)))


class Amplified(nn.Module):
    """Two nearly equal sums: their rounding errors are large beside the difference, which is the output."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.other = nn.Linear(512, 4), nn.Linear(512, 4)
        with torch.no_grad():
            self.other.weight.copy_(self.one.weight * (1 + 3e-3 * torch.randn(4, 512)))
            self.other.bias.copy_(self.one.bias)

    def forward(self, x: Any) -> Any:
        return (self.one(x) - self.other(x)) / 3e-3


def double(build: Any) -> Any:
    return lambda: build().double()


SCORES = np.array([[0], [0], [0], [0], [0.02], [0.02]])
IMAGE = ("x=1..4x3x8x8",)
CONV = {"conv": lambda: nn.Conv2d(3, 6, 3, padding=1)}
ARGMAX = module(lambda self, x: self.linear(x).argmax(-1), linear=lambda: nn.Linear(6, 4))
TOP = module(lambda self, x: self.linear(x).topk(2, -1)[1], linear=lambda: nn.Linear(6, 4))
IDS = {"shapes": ("ids=1..4x16",), "options": {"dtypes": {"ids": "int64"}}}


def last_digits(self: Any, x: Any) -> Any:
    return (self.linear(x) * 1e9).to(torch.int64) % 1000


class Calls:
    def __init__(self) -> None:
        self.count = 0


def counts_in_an_object(self: Any, x: Any) -> Any:
    self.held.count += 1
    y = self.linear(x)
    return y if self.held.count < 500 else -y


def counts_by_iterator(self: Any, x: Any) -> Any:
    y = self.linear(x)
    return y if next(self.held) < 500 else -y


CASES = (
    Case(
        name="random-numbers", what="forward draws random numbers",
        wrong=module(lambda self, x: functional.dropout(self.linear(x), 0.1, training=True), linear=lambda: nn.Linear(6, 4)),
        right=LINEAR, error="is not deterministic: it draws random numbers", everyday=True,
    ),
    Case(
        name="random-module", what="One module of many draws random numbers",
        wrong=module(lambda self, x: self.noise(self.linear(x)), linear=lambda: nn.Linear(6, 4), noise=Noise()),
        right=LINEAR, error="random numbers in module `noise` \\(Noise\\)",
    ),
    Case(
        name="counting-buffer", what="forward counts its calls in a buffer, and uses the count",
        wrong=module(counts_in_a_buffer, linear=lambda: nn.Linear(6, 4), calls=torch.zeros(())),
        right=LINEAR, error="reads state that its forward modifies: buffer `calls`",
    ),
    Case(
        name="moving-average", what="forward updates a running average that it subtracts",
        wrong=module(moves_an_average, linear=lambda: nn.Linear(6, 4), average=torch.zeros(6)),
        right=LINEAR, error="reads state that its forward modifies: buffer `average`",
    ),
    Case(
        name="after-50-calls", what="The model behaves differently after 50 calls",
        wrong=module(turns_after_50_calls, linear=lambda: nn.Linear(6, 4), calls=0),
        right=LINEAR, missing=r"forward\(\) modifies attribute `calls`",
    ),
    Case(
        name="calls-in-an-object", what="The same, with the number of calls inside an object",
        wrong=module(counts_in_an_object, linear=lambda: nn.Linear(6, 4), held=Calls),
        right=LINEAR, missing=r"forward\(\) modifies object `held`", everyday=True,
    ),
    Case(
        name="calls-by-an-iterator", what="The same, counted by an iterator",
        wrong=module(counts_by_iterator, linear=lambda: nn.Linear(6, 4), held=itertools.count),
        right=LINEAR, missing=r"forward\(\) modifies object `held`",
    ),
    Case(
        name="after-a-large-value", what="The model behaves differently once it has seen a large value",
        wrong=module(turns_after_a_large_value, linear=lambda: nn.Linear(6, 4), largest=lambda: torch.tensor(0.0)),
        right=LINEAR, missing="the outputs depend on (attribute|buffer) `largest`", everyday=True,
    ),
    Case(
        name="last-input", what="The same for the input before",
        wrong=module(remembers_the_last_input, linear=lambda: nn.Linear(6, 4), held=lambda: {"last": torch.tensor(0.0)}),
        right=LINEAR, missing="the outputs depend on attribute `held`",
    ),
    Case(
        name="input-clamped", what="forward clamps its input in place, hidden from autograd",
        wrong=module(clamps_its_input, linear=lambda: nn.Linear(6, 4)),
        right=module(lambda self, x: self.linear(x.clamp(min=0.25)), linear=lambda: nn.Linear(6, 4)), error=LINK_2,
    ),
    Case(
        name="input-clipped-by-numpy", what="forward clips its input in place through numpy",
        wrong=module(clips_its_input_with_numpy, linear=lambda: nn.Linear(6, 4)),
        right=module(lambda self, x: self.linear(x.clamp(min=0.25)), linear=lambda: nn.Linear(6, 4)), error=LINK_2,
    ),
    Case(
        name="input-scaled", what="The exporter is wrong by 1 % for a model that writes into its input",
        wrong=module(scales_its_input, linear=lambda: nn.Linear(6, 4)), fault=scale_output(1.01), error=LINK_2,
    ),
    Case(
        name="float64", what="A float64 model needs more precision than float32 has",
        wrong=double(module(lambda self, x: self.linear((x + 1e8) - 1e8), linear=lambda: nn.Linear(6, 4))),
        right=double(LINEAR), error="The model is float64 and the exported one float32",
    ),
    Case(name="nan-bias", what="One bias is NaN", wrong=nan_bias, right=LINEAR, error="returns NaN in output"),
    Case(name="mostly-nan", what="Most of an output is NaN", wrong=module(mostly_nan), right=LINEAR, error="returns NaN in output|only NaN or infinity in output"),
    *(
        Case(
            name=f"masked-logit{index}", what=f"A logit masked with {value:.3g} hides an error of the others",
            wrong=with_sentinel(value), fault=lambda model: append_node(model, 0, "Add", np.array([0, 0.3, 0, 0])), error=LINK_2,
        )
        for index, value in enumerate((-1e9, -1e4, -65504.0, torch.finfo(torch.float32).min))
    ),
    Case(name="class-off-by-2", what="Class numbers are off by 2", wrong=ARGMAX, fault=lambda model: append_node(model, 0, "Add", 2), error=LINK_2),
    Case(name="indices-off-by-1", what="Indices of topk are off by 1", wrong=TOP, fault=lambda model: append_node(model, 0, "Add", 1), error=LINK_2),
    Case(
        name="last-digits", what="Rounding errors change every integer that the model returns",
        wrong=module(last_digits, linear=lambda: nn.Linear(6, 4)), right=ARGMAX,
        missing="of its integers differ and do not count",
    ),
    Case(
        name="mask-inverted", what="A boolean output is inverted",
        wrong=module(lambda self, x: self.linear(x) > 0, linear=lambda: nn.Linear(6, 4)),
        fault=lambda model: append_node(model, 0, "Xor", True), error=LINK_2,
    ),
    Case(
        name="scores-beside-pixels", what="Scores are off by 0.02 in an output that also has boxes in pixels, without groups",
        wrong=module(raw_detections, **CONV), shapes=IMAGE, options={"image": "none"},
        fault=lambda model: append_node(model, 0, "Add", SCORES), error=LINK_2,
    ),
    Case(
        name="odd-sizes", what="A size is rounded up with -(-h // 2)",
        wrong=module(ceil_by_negation), right=module(lambda self, x: x[:, :, ::2, ::2]),
        shapes=("x=1..2x3x16..64@32x16..64@32",), options={"image": "none"}, error="Link 2 .* fails",
    ),
    Case(
        name="row-reads-row", what="Row 1 of a fixed batch reads row 2",
        wrong=module(one_row_reads_another, linear=lambda: nn.Linear(6, 4)), right=LINEAR, shapes=("x=4x6",), error="in a batch",
    ),
    Case(
        name="batch-mean", what="Each row sees the mean over its batch",
        wrong=module(lambda self, x: self.linear(x - 0.1 * x.mean(0)), linear=lambda: nn.Linear(6, 4)), right=LINEAR, error="in a batch",
    ),
    Case(
        name="ignores-its-input", what="The output does not depend on the input",
        wrong=module(lambda self, x: self.linear(0 * x), linear=lambda: nn.Linear(6, 4)), right=LINEAR, missing="does not vary enough",
    ),
    Case(
        name="constant-without-rows", what="The same for one of several outputs, which has no row for each sample",
        wrong=module(lambda self, x: (self.linear(x), torch.where(x.max() > 40, self.high, self.low)), linear=lambda: nn.Linear(6, 4), low=torch.arange(4.0), high=torch.ones(4)),
        right=LINEAR, missing="output1 does not vary enough", everyday=True,
    ),
    Case(
        name="constant-scores", what="Boxes vary with the input, but all scores are always 0.25",
        wrong=module(constant_scores, **CONV), right=module(raw_detections, **CONV), shapes=IMAGE, options={"image": "none"},
        missing="does not vary enough",
    ),
    Case(
        name="amplified-rounding", what="The exporter is wrong by 0.1 % for a model that amplifies rounding errors",
        wrong=lambda: Amplified().eval(), shapes=("x=1..4x512",), fault=scale_output(1.001), error=LINK_2,
    ),
    Case(
        name="shift-of-negatives", what="The exporter shifts negative integers like unsigned ones",
        wrong=module(lambda self, ids: self.table(ids.abs() % 5) + (ids >> 1)[..., None], table=lambda: nn.Embedding(5, 3)),
        right=module(lambda self, ids: self.table(ids.abs() % 5) + torch.div(ids, 2, rounding_mode="floor")[..., None], table=lambda: nn.Embedding(5, 3)),
        error=LINK_2, **IDS,
    ),
    Case(
        name="floor-of-negatives", what="The exporter divides integers towards zero",
        wrong=module(lambda self, ids: self.table(ids.abs() % 5) + (ids // 2)[..., None], table=lambda: nn.Embedding(5, 3)),
        right=module(lambda self, ids: self.table(ids.abs() % 5), table=lambda: nn.Embedding(5, 3)), error=LINK_2, **IDS,
    ),
)  # fmt: skip
