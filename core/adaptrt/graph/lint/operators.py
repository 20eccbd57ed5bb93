"""Operators that a target does not support, in a table for each TensorRT (``Target.operator_table``).

8, 10 and 11: from the tables of supported operators of onnx-tensorrt for 8.5 with the changes of 8.6, and for 10.15, which
also stands for 11. rtx: from running TensorRT-RTX 1.7.1, without a GPU: its parser was queried for every operator of ONNX, and
each single-node test of ONNX was parsed and built for compute capability 8.6.
"""

from __future__ import annotations

from collections.abc import Mapping

from adaptrt.specs.targets import Target

_SEQUENCES = frozenset(
    [
        "ConcatFromSequence",
        "SequenceAt",
        "SequenceConstruct",
        "SequenceEmpty",
        "SequenceErase",
        "SequenceInsert",
        "SequenceLength",
        "SequenceMap",
        "SplitToSequence",
    ]
)
_NEVER = _SEQUENCES | frozenset(
    [
        "AffineGrid",
        "Bernoulli",
        "BitShift",
        "BitwiseAnd",
        "BitwiseNot",
        "BitwiseOr",
        "BitwiseXor",
        "CenterCropPad",
        "Col2Im",
        "Compress",
        "ConvInteger",
        "DFT",
        "Det",
        "DynamicQuantizeLinear",
        "ImageDecoder",
        "MatMulInteger",
        "MaxRoiPool",
        "MaxUnpool",
        "MelWeightMatrix",
        "Multinomial",
        "NegativeLogLikelihoodLoss",
        "Optional",
        "OptionalGetElement",
        "OptionalHasElement",
        "QLinearConv",
        "QLinearMatMul",
        "RegexFullMatch",
        "SoftmaxCrossEntropyLoss",
        "StringConcat",
        "StringNormalizer",
        "StringSplit",
        "TfIdfVectorizer",
        "Unique",
    ]
)
# came with TensorRT 9 and 10, or with an opset that 8.6 does not read
_LATER = frozenset(
    [
        "Attention",
        "BlackmanWindow",
        "CastLike",
        "DeformConv",
        "Gelu",
        "HammingWindow",
        "HannWindow",
        "Hardmax",
        "Mish",
        "RMSNormalization",
        "RotaryEmbedding",
        "STFT",
        "Swish",
        "TensorScatter",
    ]
)

# rule and detail, as observed with TensorRT-RTX 1.7.1; 10.15 lists these operators, or no table does yet
_NO_PLUGIN = ("unsupported", "implemented by a plugin that TensorRT-RTX 1.7 does not include")
_RTX: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(_NEVER, ("unsupported", "")),
    **dict.fromkeys(
        ["BitCast", "CausalConvWithState", "CumProd", "DeformConv", "LinearAttention", "NonZero", "SwiGLU"], _NO_PLUGIN
    ),
    "NonMaxSuppression": ("no-kernel", "TensorRT-RTX 1.7 parses it, but the build fails"),
    "RoiAlign": ("needs-device", "rejected by the parser of TensorRT-RTX 1.7 without a GPU"),
}

# in the table, and implemented by a plugin that was not seen to build
_UNPROVEN = (
    "unproven",
    "listed in the operator table of onnx-tensorrt 10.15, but implemented by a plugin that TensorRT-RTX 1.7 does not include",
)

_REFUSED: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "8": dict.fromkeys(_NEVER | _LATER, ("unsupported", "")),
    "10": {**dict.fromkeys(_NEVER, ("unsupported", "")), "DeformConv": _UNPROVEN},
    "11": {**dict.fromkeys(_NEVER, ("unsupported", "")), "DeformConv": _UNPROVEN},
    "rtx": _RTX,
}


def refusal(operator: str, target: Target) -> tuple[str, str] | None:
    """The rule that a standard operator breaks for this target, with a detail; ``None`` if it is taken, or nothing is known."""
    return _REFUSED.get(target.operator_table, {}).get(operator)
