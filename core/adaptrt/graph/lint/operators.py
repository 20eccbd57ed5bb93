"""What the ONNX parsers of TensorRT do not take.

From the tables of supported operators of onnx-tensorrt for 8.5 with the changes of 8.6, and for 10.15; 11 is held
against the latter.
"""

from __future__ import annotations

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

_UNSUPPORTED = {8: _NEVER | _LATER, 10: _NEVER, 11: _NEVER}


def unsupported(operator: str, target: Target) -> bool:
    """Whether a standard operator has no importer in the parser of this TensorRT generation; others are not in the table."""
    return operator in _UNSUPPORTED.get(target.generation, frozenset())
