"""What each input of an operator can be: a weight, a table of scales, a mask, or any operand.

One letter per input, from the second on:

=== ==========================================================================================
w   weight, floating point (the integer bias of an operator that also has ``q`` among its inputs)
q   weight that may be quantised: integers count
p   packed weight: its elements are those it stands for, not those that are stored
b   buffer: statistics
m   mask, or a trained bias on attention scores: its values tell
-   no parameter: scales, zero points, sizes, caches, tables of cosines
?   any operand; also what follows the last letter, and operators that are not here
=== ==========================================================================================

Sources: ONNX, Operators.md; onnxruntime, ContribOperators.md. A test compares the letters with the names that these
give to the inputs.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from engine.onnx.graph import Node

Slot: TypeAlias = Literal["weight", "quantised", "packed", "buffer", "mask", "none", "operand", "table"]

_WORDS: dict[str, Slot] = {
    "w": "weight", "q": "quantised", "p": "packed", "b": "buffer", "m": "mask", "-": "none", "?": "operand",
    "t": "table",
}  # fmt: skip

_QUANTISED_CONV = "--q----w"

_LATER = {
    # Standard operators, and those of onnxruntime that have the same inputs.
    "Conv": "ww", "ConvTranspose": "ww", "DeformConv": "w?w?", "Gemm": "ww", "PRelu": "w",
    "LSTM": "www---w", "GRU": "www--", "RNN": "www--",
    "InstanceNormalization": "ww", "LayerNormalization": "ww", "GroupNormalization": "ww", "RMSNormalization": "w",
    "SimplifiedLayerNormalization": "w", "BatchNormalization": "wwbb", "CausalConvWithState": "ww-",
    "Attention": "??m---", "RotaryEmbedding": "---", "LinearAttention": "??-??",
    "ConvInteger": "q--", "MatMulInteger": "q--", "QLinearConv": _QUANTISED_CONV, "QLinearMatMul": "--q----",
    "Resize": "----", "Upsample": "-", "Pad": "---", "Clip": "--", "OneHot": "--", "Pow": "-", "Dropout": "--",
    "QuantizeLinear": "---", "DequantizeLinear": "---", "RoiAlign": "--", "NonMaxSuppression": "----", "CumSum": "-",
    "ThresholdedRelu": "", "Trilu": "-", "TopK": "-", "ReduceMax": "-", "STFT": "---", "Reshape": "-",
    "Slice": "----", "NegativeLogLikelihoodLoss": "-b", "SoftmaxCrossEntropyLoss": "-b",
    # Fused and extended ones of onnxruntime.
    "FusedConv": "ww?", "NhwcConv": "ww", "NhwcFusedConv": "ww?", "FusedMatMul": "?", "FusedGemm": "ww",
    "Conv/com.microsoft.nchwc": "ww?", "ConvTransposeWithDynamicPads": "w-w", "GemmFastGelu": "ww",
    "SkipLayerNormalization": "?www", "SkipSimplifiedLayerNormalization": "?ww", "EmbedLayerNormalization": "-wwwww--",
    "GroupNorm": "ww", "SkipGroupNorm": "ww?w", "GatedRMSNorm": "w?", "BranchwiseRMSNorm": "w",
    "BiasGelu": "w", "FastGelu": "w", "BiasAdd": "w?", "BiasSplitGelu": "w", "BiasSoftmax": "m",
    "BiasDropout": "w?--", "BitmaskBiasDropout": "w?--", "BitmaskDropout": "--", "CropAndResize": "---",
    "TorchEmbedding": "---", "RelativePositionBias": "--", "WordConvEmbedding": "www",
    "AttnLSTM": "www---wwww?-w", "VarlenCausalConvWithState": "w-w--", "MoE": "?wwwwww",
    # Attention of onnxruntime.
    "Attention/com.microsoft": "ww--m-", "DecoderMaskedSelfAttention": "ww--m---", "PackedAttention": "ww--m",
    "MultiHeadAttention": "??w-m----", "DecoderMaskedMultiHeadAttention": "??-m-----w",
    "PackedMultiHeadAttention": "??w--m",
    "GroupQueryAttention": "??-------mw--ww", "PagedAttention": "??--------www---", "DecoderAttention": "?www-------",
    "LongformerAttention": "ww-ww-", "SparseAttention": "??--------", "GatedRelativePositionBias": "w?www-",
    "DynamicSparseAttention": "??-----------www", "SparsePagedAttention": "??-------------www---",
    "SparseAttentionIndexer": "?ww----?w?---", "PackedSparseAttentionIndexer": "?ww----?w?-------",
    "MRotaryEmbedding": "---", "EngramGate": "??www", "GatedDeltaNet": "??-??-ww--", "LinearAttentionGate": "ww?",
    # Quantised ones of onnxruntime.
    "DynamicQuantizeMatMul": "q--w", "MatMulIntegerToFloat": "q----w", "MatMulInteger16": "q", "QGemm": "--q--w--",
    "QLinearConvTranspose": _QUANTISED_CONV, "QAttention": "qw-------", "QOrderedAttention": "----qqq---www-----m",
    "QOrderedMatMul": "-q--w?-", "QOrderedLayerNormalization": "-ww-", "QOrderedGelu": "--",
    "QOrderedLongformerAttention": "-q-w---q-w---", "QuantizeWithOrder": "-", "DequantizeWithOrder": "-",
    "QEmbedLayerNormalization": "-qqqqq-----------", "DynamicQuantizeLSTM": "qqw---w----",
    "QLinearAdd": "--q----", "QLinearMul": "--q----", "QLinearWhere": "q--q----", "MulInteger": "-q-",
    "QLinearAveragePool": "----", "QLinearGlobalAveragePool": "----", "QLinearLeakyRelu": "----",
    "QLinearReduceMean": "----", "QLinearSigmoid": "----", "QLinearSoftmax": "----",
    "GatherBlockQuantized": "---", "MatMulNBits": "p---w", "MatMulBnb4": "p-", "MatMulFpQ4": "p-",
    "GemmFloat8": "qw---",
    "MatMulBlockQuantizedFp4Weight": "p---w", "MatMulBlockQuantizedFp8Weight": "q--w", "MatMulNBitsMlp": "?wp-wp-w",
    "MatMulNBitsQkv": "?wp-wp-wp-w", "QMoE": "?p-wp-wp-w---?------",
}  # fmt: skip

_FIRST = {
    "Gather": "t", "GatherBlockQuantized": "p", "TorchEmbedding": "w", "RelativePositionBias": "w", "QLinearAdd": "q",
    "QLinearMul": "q", "MulInteger": "q", "Range": "-", "NonMaxSuppression": "-", "ConstantOfShape": "-", "Where": "-",
    "QLinearConcat": "-", "QLinearWhere": "-", "TensorScatter": "-",
}  # fmt: skip
"""First inputs that are more, or less, than any operand; t is a table of which rows are looked up."""

_ZERO_POINTS: dict[str, dict[int, int]] = {
    "QLinearConv": {3: 5}, "QLinearConvTranspose": {3: 5}, "QLinearMatMul": {3: 5}, "QGemm": {3: 5},
    "ConvInteger": {1: 3}, "MatMulInteger": {1: 3}, "DynamicQuantizeMatMul": {1: 3}, "MatMulIntegerToFloat": {1: 5},
    "QAttention": {1: 7}, "QLinearAdd": {0: 2, 3: 5}, "QLinearMul": {0: 2, 3: 5}, "QLinearWhere": {1: 3, 4: 6},
    "MulInteger": {0: 1, 2: 3}, "DynamicQuantizeLSTM": {1: 9, 2: 11},
    "QEmbedLayerNormalization": {2: 13, 3: 14, 4: 15, 5: 16, 6: 17},
}  # fmt: skip


def slot_of(node: Node, position: int) -> Slot:
    """What the input of ``node`` at ``position`` can be."""
    return _WORDS[_letter(node, position)]


def takes_quantised(node: Node, position: int) -> bool:
    """Whether integers at ``position`` are a weight: the bias of a quantised convolution is an int32 tensor."""
    letter = _letter(node, position)
    return letter == "q" or (letter == "w" and "q" in _letters(node))


def zero_point_of(node: Node, position: int) -> int:
    """Which input is the zero point of the quantised weight at ``position``; 0 where the operator has none."""
    if node.op_type == "QLinearConcat":
        return position + 2
    return _ZERO_POINTS.get(node.op_type, {}).get(position, 0)


def _letter(node: Node, position: int) -> str:
    if position == 0:
        return _FIRST.get(node.op_type, "?")
    if (
        node.op_type == "QLinearConcat"
    ):  # scale and zero point of the result, then (tensor, scale, zero point) each
        return "q" if position > 1 and position % 3 == 2 else "-"
    letters = _letters(node)
    return letters[position - 1] if position <= len(letters) else "?"


def _letters(node: Node) -> str:
    return _LATER.get(f"{node.op_type}/{node.domain}") or _LATER.get(node.op_type, "")
