"""Operations that move, rename or create data and compute nothing: 0 FLOPs. Bytes moved tell their cost."""

from __future__ import annotations

from math import prod
from typing import Any

from engine.cost.per_element import per_element_work
from engine.cost.registry import Work, cost_formula
from engine.graph import OpCall

_NOTHING = Work(0, 0, 0, "FLOPs = 0: data movement")


_VIEWS = (
    "view", "_unsafe_view", "view_as", "reshape", "reshape_as", "_reshape_alias", "_reshape_from_tensor",
    "flatten", "unflatten", "ravel", "transpose", "swapaxes", "swapdims", "t", "numpy_T", "mT", "mH",
    "matrix_H", "adjoint", "permute", "movedim", "moveaxis", "squeeze", "unsqueeze", "expand", "expand_as",
    "broadcast_to", "broadcast_tensors", "as_strided", "select", "slice", "narrow", "diagonal",
    "linalg_diagonal", "unfold", "chunk", "split", "split_with_sizes", "tensor_split", "hsplit", "vsplit",
    "dsplit", "unbind", "detach", "alias", "unsafe_chunk", "unsafe_split", "unsafe_split_with_sizes",
    "view_as_complex", "view_as_real", "real", "imag", "atleast_1d", "atleast_2d", "atleast_3d", "meshgrid",
    "conj", "_conj", "_neg_view", "resolve_conj", "resolve_neg", "identity", "positive", "lift",
    "lift_fresh", "lift_fresh_copy", "_fw_primal", "set_data",
)  # fmt: skip
_ARRANGING = (
    "cat", "concat", "concatenate", "_chunk_cat", "stack", "_stack", "hstack", "vstack", "dstack",
    "row_stack", "column_stack", "block_diag", "pad", "_pad_enum", "_pad_circular", "constant_pad_nd",
    "reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "replication_pad1d", "replication_pad2d",
    "replication_pad3d", "roll", "flip", "fliplr", "flipud", "rot90", "tile", "repeat", "repeat_interleave",
    "pad_sequence", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle",
    "im2col", "diag", "diagflat", "diag_embed", "tril", "triu", "max_unpool2d", "max_unpool3d",
    "cartesian_prod", "combinations", "_pack_padded_sequence", "_pad_packed_sequence", "fft_fftshift",
    "fft_ifftshift",
)  # fmt: skip
_COPIES = (
    "clone", "copy", "_copy_from", "contiguous", "to", "_to_copy", "_to_cpu", "type_as", "cpu", "cuda",
    "to_dense", "to_mkldnn", "pin_memory", "_cast_Float", "_cast_Half", "_cast_Long", "_cast_Int",
    "_cast_Double", "complex", "_autocast_to_full_precision", "_autocast_to_reduced_precision", "resize",
    "resize_as", "_resize_output", "item", "_local_scalar_dense", "is_nonzero", "_shape_as_tensor",
    "_dim_arange", "_print",
)  # fmt: skip
_INDEXING = (
    "index", "_unsafe_index", "index_select", "gather", "take", "take_along_dim", "index_fill",
    "index_copy", "scatter", "select_scatter", "slice_scatter", "diagonal_scatter", "as_strided_scatter",
    "masked_scatter", "put", "_assert_async", "_assert_scalar", "_assert_tensor_metadata",
    "_functional_assert_async",
)  # fmt: skip
_CREATION = (
    "empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided", "zeros",
    "zeros_like", "new_zeros", "_efficientzerotensor", "ones", "ones_like", "new_ones", "full", "full_like",
    "new_full", "fill", "zero", "arange", "range", "linspace", "logspace", "eye", "scalar_tensor", "tensor",
    "tril_indices", "triu_indices", "bartlett_window", "blackman_window", "hamming_window", "hann_window",
    "kaiser_window", "fft_fftfreq", "fft_rfftfreq", "fill_diagonal",
)  # fmt: skip


@cost_formula(*_VIEWS, *_ARRANGING, *_COPIES, *_INDEXING, *_CREATION, family="movement")
def movement(call: OpCall) -> Work:
    """Views, joins, copies, conversions of dtype, gathers and new tensors: 0 MACs, 0 FLOPs.

    Left out: the arithmetic on indices, and that of filling a range or a window (about 1 per element).
    """
    return _NOTHING


@cost_formula("index_add", "scatter_add", "scatter_reduce", "index_reduce", family="movement")
def scatter_add(call: OpCall) -> Work:
    """Adds (or joins) each element of a source into a place given by its index.

    FLOPs = 1 per element of the source, 2 with an ``alpha`` other than 1.
    """
    args = call.args
    source: Any = args["source"] if "source" in args else args.get("src")
    # scatter_add also takes one number for all positions of the index.
    places: Any = source if isinstance(source, tuple) else args["index"]
    if args.get("alpha", 1) != 1:
        return per_element_work(prod(places), 2, 0, "mul, add")
    return per_element_work(prod(places), 1, 0, "add")


@cost_formula("index_put", "_unsafe_index_put", "_index_put_impl", family="movement")
def index_put(call: OpCall) -> Work:
    """Writes values at indices: 0 FLOPs; with ``accumulate`` it adds them, 1 FLOP per value.

    Values that broadcast over the indices are counted at their own size: too low.
    """
    if not call.args.get("accumulate", False):
        return _NOTHING
    values: Any = call.args["values"]
    return per_element_work(prod(values), 1, 0, "add")


@cost_formula("col2im", family="movement")
def col2im(call: OpCall) -> Work:
    """Sums overlapping blocks back into an image (``nn.Fold``). FLOPs = 1 per element of the blocks."""
    blocks: Any = call.inputs[0]
    return per_element_work(prod(blocks), 1, 0, "add")
