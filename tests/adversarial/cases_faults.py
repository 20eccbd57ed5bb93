"""Faults of an exporter, put into the exported file: every one changes what the file computes."""

from __future__ import annotations

import numpy as np
from adversarial_cases import Case, append_node, module, scale_output
from torch import nn

LINEAR = module(lambda self, x: self.linear(x), linear=lambda: nn.Linear(6, 4))

CASES = (
    Case(
        name="scaled",
        what="The exporter scales an output by 0.1 %",
        wrong=LINEAR,
        fault=scale_output(1.001),
        error="Link 2 .* fails",
        everyday=True,
    ),
    Case(
        name="one-channel-shifted",
        what="The exporter shifts one channel of an output",
        wrong=LINEAR,
        fault=lambda model: append_node(model, 0, "Add", np.array([0, 0, 0.01, 0])),
        error="Link 2 .* fails",
    ),
)
