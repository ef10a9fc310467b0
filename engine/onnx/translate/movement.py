"""Operators that move, rename or create data and compute nothing: 0 FLOPs, whatever is known of their shapes."""

from __future__ import annotations

from math import prod

from engine.cost import Work
from engine.cost.per_element import per_element_work
from engine.onnx.translate.registry import MICROSOFT, NCHWC, NHWC, NodeCall, translates

_NOTHING = ("movement", Work(0, 0, 0, "FLOPs = 0: data movement"))
_BODIES = ("movement", Work(0, 0, 0, "FLOPs = 0: what its bodies compute are rows of their own"))
_ROWS = ("embedding", Work(0, 0, 0, "FLOPs = 0: rows are copied"))


@translates(
    "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Shape", "Size", "Cast",
    "CastLike", "BitCast", "Concat", "Split", "Slice", "Pad", "Tile", "Gather", "GatherElements", "GatherND",
    "DepthToSpace", "SpaceToDepth", "ReverseSequence", "Trilu", "CenterCropPad", "MaxUnpool", "TensorScatter",
    "Constant", "ConstantOfShape", "EyeLike", "Range", "BlackmanWindow", "HammingWindow", "HannWindow",
    "Crop", "DynamicSlice", "GivenTensorFill", "MemcpyFromHost", "MemcpyToHost",
)  # fmt: skip
@translates(
    "ExpandDims", "GatherND", "Pad", "Range", "Trilu", "RemovePadding", "RestorePadding", "UnfoldTensor",
    "RelativePositionBias", "BitmaskDropout", "BitmaskBiasDropout", domain=MICROSOFT,
)  # fmt: skip
@translates("DepthToSpace", "SpaceToDepth", "MaxUnpool", domain=NHWC)
@translates("ReorderInput", "ReorderOutput", domain=NCHWC)
def movement(call: NodeCall) -> tuple[str, Work]:
    """Views, joins, copies, conversions of dtype, gathers and new tensors: 0 MACs, 0 FLOPs.

    Left out: the arithmetic on indices, and that of filling a range or a window (about 1 per element). Rows looked
    up in a matrix of floating-point numbers are an embedding.
    """
    return _ROWS if call.op == "Gather" and _is_lookup(call) else _NOTHING


@translates("OneHot")
@translates("TorchEmbedding", domain=MICROSOFT)
def embedding(call: NodeCall) -> tuple[str, Work]:
    """Copies rows of a table: 0 MACs, 0 FLOPs. (A product with one-hot vectors is what nobody executes.)"""
    return _ROWS


@translates(
    "Optional", "OptionalGetElement", "OptionalHasElement", "SequenceAt", "SequenceConstruct", "SequenceEmpty"
)
@translates("SequenceErase", "SequenceInsert", "SequenceLength", "ConcatFromSequence", "SplitToSequence")
def sequences(call: NodeCall) -> tuple[str, Work]:
    """Sequences of tensors and optional values: 0 MACs, 0 FLOPs."""
    return _NOTHING


@translates("If", "Loop", "Scan", "SequenceMap")
def control_flow(call: NodeCall) -> tuple[str, Work]:
    """The node itself computes nothing; the nodes of its bodies are rows, counted as often as they run."""
    return _BODIES


@translates("Scatter", "ScatterElements", "ScatterND")
def scatter(call: NodeCall) -> tuple[str, Work]:
    """Writes values at indices: 0 FLOPs; with a ``reduction`` it joins them, 1 FLOP per value."""
    reduction = call.text("reduction", "none")
    if reduction == "none":
        return _NOTHING
    return "movement", per_element_work(prod(call.input(2)), 1, 0, reduction)


@translates("Dropout")
def dropout(call: NodeCall) -> tuple[str, Work]:
    """In inference nothing happens: 0 FLOPs. In training (input ``training_mode``, true) not counted: it is random.

    Before opset 7 an attribute ``is_test`` says which; a model that was saved without it is counted in inference.
    """
    training = call.value(2)
    ratio = call.value(1)
    if training is not None and training.any() and (ratio is None or ratio.any()):
        return "activation", Work(0, None, None, "not counted: Dropout draws random numbers in training")
    return "activation", Work(0, 0, 0, "FLOPs = 0: dropout does nothing in inference")


def _is_lookup(call: NodeCall) -> bool:
    table = call.inputs[0]
    return (
        table is not None
        and len(table) == 2
        and not call.whole("axis")
        and call.input_dtypes[0].startswith(("float", "bfloat"))
    )
