"""Answers to operations whose meta kernel is a slow Python decomposition: the same shape, dtype, strides and aliasing.

A slider tick runs hundreds of operations; 1 ms for one ``batch_norm`` on meta is what makes other counters slow. Each
shortcut answers only the plain case it is sure of and returns NotImplemented for everything else, a wrong shape
included, so that the real kernel raises its own error. ``tests/engine/test_shortcuts.py`` compares every answer with
the real kernel over all of torchvision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

META = torch.device("meta")
SHORTCUTS: dict[Any, Callable[..., Any]] = {}

aten = torch.ops.aten
_empty = torch.empty
_empty_strided = torch.empty_strided


def _shortcut(*overloads: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for overload in overloads:
            SHORTCUTS[overload] = function
        return function

    return register


def _is_dense(x: Tensor) -> bool:
    """Whether the strides of ``x`` are a permutation of contiguous ones (no gaps, no overlap)."""
    expected = 1
    for stride, size in sorted(zip(x.stride(), x.shape, strict=True)):
        if size == 1:
            continue
        if stride != expected:
            return False
        expected *= size
    return True


def _like(x: Tensor) -> Any:
    """A new tensor as a pointwise operation makes it: same shape, dtype and order of dimensions."""
    if not x.is_meta:
        return NotImplemented
    if x.is_contiguous():
        return _empty(x.shape, dtype=x.dtype, device=META)
    if _is_dense(x):
        return _empty_strided(x.shape, x.stride(), dtype=x.dtype, device=META)
    # Gaps close up in the order of dimensions; an expanded dimension (stride 0) has no place in that order.
    return _like_packed(x) if 0 not in x.stride() else NotImplemented


def _like_packed(x: Tensor) -> Any:
    """What ``empty_like`` makes of any ``x``: its order of dimensions without gaps."""
    if not x.is_meta:
        return NotImplemented
    strides = [0] * x.dim()
    expected = 1
    for axis in sorted(range(x.dim()), key=lambda axis: (x.stride(axis), -axis)):
        strides[axis] = expected
        expected *= max(x.shape[axis], 1)
    return _empty_strided(x.shape, strides, dtype=x.dtype, device=META)


def _like_contiguous(x: Tensor) -> Any:
    if x.is_meta and x.is_contiguous():
        return _empty(x.shape, dtype=x.dtype, device=META)
    return NotImplemented


# -- pointwise, one tensor ---------------------------------------------------------------------------------------


@_shortcut(
    aten.relu.default, aten.gelu.default, aten.silu.default, aten.sigmoid.default, aten.tanh.default,
    aten.hardswish.default, aten.hardsigmoid.default, aten.hardtanh.default, aten.relu6.default,
    aten.elu.default, aten.selu.default, aten.celu.default, aten.leaky_relu.default, aten.mish.default,
    aten.softplus.default, aten.exp.default, aten.log.default, aten.sqrt.default, aten.rsqrt.default,
    aten.sin.default, aten.cos.default, aten.erf.default, aten.reciprocal.default, aten.log_sigmoid.default,
)  # fmt: skip
def _unary_float(x: Tensor, *args: Any, **kwargs: Any) -> Any:
    return _like(x) if x.is_floating_point() else NotImplemented


@_shortcut(aten.neg.default, aten.clone.default, aten.round.default, aten.floor.default, aten.ceil.default)
def _unary(x: Tensor, **kwargs: Any) -> Any:
    return NotImplemented if kwargs else _like(x)


@_shortcut(
    aten.relu_.default, aten.silu_.default, aten.sigmoid_.default, aten.tanh_.default, aten.hardswish_.default,
    aten.hardsigmoid_.default, aten.hardtanh_.default, aten.elu_.default, aten.leaky_relu_.default,
    aten.gelu_.default, aten.mish_.default, aten.fill_.Scalar, aten.zero_.default,
)  # fmt: skip
def _in_place(x: Tensor, *args: Any, **kwargs: Any) -> Any:
    return x if x.is_meta and not kwargs else NotImplemented


@_shortcut(aten.clamp.default, aten.clamp_min.default, aten.clamp_max.default, aten.pow.Tensor_Scalar)
def _unary_with_scalars(x: Tensor, *args: Any, **kwargs: Any) -> Any:
    if x.is_floating_point() and not kwargs and all(type(a) in (int, float, type(None)) for a in args):
        return _like(x)
    return NotImplemented


@_shortcut(aten.softmax.int, aten.log_softmax.int)
def _softmax(x: Tensor, dim: int, dtype: Any = None) -> Any:
    if dtype is not None or not x.is_floating_point() or not -x.dim() <= dim < x.dim():
        return NotImplemented
    return _like_contiguous(x)


@_shortcut(aten.roll.default)
def _roll(x: Tensor, shifts: Any, dims: Sequence[int] = ()) -> Any:
    if not dims or any(not -x.dim() <= dim < x.dim() for dim in dims) or len(shifts) != len(dims):
        return NotImplemented
    return _like_contiguous(x)


# -- pointwise, two operands -------------------------------------------------------------------------------------


def _is_number(value: Any, x: Tensor) -> bool:
    """Whether combining ``x`` with ``value`` keeps the dtype of ``x``."""
    kind = type(value)
    return (kind is float or kind is int) if x.is_floating_point() else kind is int and x.dtype != torch.bool


def _broadcasts_into(small: Sequence[int], large: Sequence[int]) -> bool:
    if len(small) > len(large):
        return False
    return all(a in (1, b) for a, b in zip(reversed(small), reversed(large), strict=False))


def _binary_out(a: Tensor, b: Any) -> Any:
    if not isinstance(a, Tensor):
        return NotImplemented
    if not isinstance(b, Tensor):
        return _like(a) if _is_number(b, a) else NotImplemented
    if a.dtype != b.dtype or a.dtype == torch.bool or not a.is_meta or not b.is_meta:
        return NotImplemented
    if a.shape == b.shape:
        if a.stride() == b.stride():
            return _like(a)
        return _like_contiguous(a) if b.is_contiguous() else NotImplemented
    small, large = (b, a) if _broadcasts_into(b.shape, a.shape) else (a, b)
    if not _broadcasts_into(small.shape, large.shape):
        return _broadcast_both(a, b)
    if large.is_contiguous() and small.is_contiguous():
        return _like_contiguous(large)
    # An operand with one real dimension has no order of its own: the other one decides the layout.
    return _like(large) if sum(size != 1 for size in small.shape) <= 1 else NotImplemented


def _broadcast_both(a: Tensor, b: Tensor) -> Any:
    """Two contiguous operands that stretch each other, ``(n, 1, k)`` and ``(n, k, 1)``."""
    if a.dim() != b.dim() or not a.is_contiguous() or not b.is_contiguous():
        return NotImplemented
    if any(m != n and m != 1 and n != 1 for m, n in zip(a.shape, b.shape, strict=True)):
        return NotImplemented
    shape = [n if m == 1 else m for m, n in zip(a.shape, b.shape, strict=True)]
    return _empty(shape, dtype=a.dtype, device=META)


@_shortcut(
    aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.maximum.default, aten.minimum.default,
)  # fmt: skip
def _binary(a: Tensor, b: Any, **kwargs: Any) -> Any:
    return NotImplemented if kwargs else _binary_out(a, b)


@_shortcut(aten.div.Tensor)
def _div(a: Tensor, b: Any, **kwargs: Any) -> Any:
    if kwargs or not isinstance(a, Tensor) or not a.is_floating_point():
        return NotImplemented
    return _binary_out(a, b)


@_shortcut(aten.rsub.Scalar)
def _rsub(a: Tensor, b: Any, alpha: Any = 1) -> Any:
    return _like(a) if _is_number(b, a) else NotImplemented


@_shortcut(aten.add_.Tensor, aten.sub_.Tensor, aten.mul_.Tensor)
def _binary_in_place(a: Tensor, b: Any, **kwargs: Any) -> Any:
    if kwargs or not a.is_meta:
        return NotImplemented
    if isinstance(b, Tensor):
        same = b.is_meta and a.dtype == b.dtype and _broadcasts_into(b.shape, a.shape)
        return a if same else NotImplemented
    return a if _is_number(b, a) else NotImplemented


@_shortcut(aten.eq.Scalar, aten.ne.Scalar, aten.gt.Scalar, aten.lt.Scalar, aten.ge.Scalar, aten.le.Scalar)
def _compare(x: Tensor, value: Any) -> Any:
    # What a single number is compared with may decide an if: engine.trace.assume follows it.
    if x.is_meta and x.dim() and x.is_contiguous():
        return _empty(x.shape, dtype=torch.bool, device=META)
    return NotImplemented


@_shortcut(aten.masked_fill.Scalar)
def _masked_fill(x: Tensor, mask: Tensor, value: Any) -> Any:
    if (
        mask.dtype == torch.bool
        and mask.is_meta
        and _is_number(value, x)
        and _broadcasts_into(mask.shape, x.shape)
    ):
        return _like_contiguous(x)
    return NotImplemented


# -- norms -------------------------------------------------------------------------------------------------------


@_shortcut(aten.batch_norm.default)
def _batch_norm(x: Tensor, weight: Any, bias: Any, mean: Any, var: Any, training: bool, *rest: Any) -> Any:
    if training or mean is None or var is None or not x.is_floating_point() or x.dim() < 2:
        return NotImplemented
    channels = x.shape[1]
    if any(t is not None and t.shape[0] != channels for t in (weight, bias, mean, var)):
        return NotImplemented
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return _like(x)
    return _like_contiguous(x)


@_shortcut(aten.layer_norm.default)
def _layer_norm(x: Tensor, shape: Sequence[int], weight: Any = None, bias: Any = None, *rest: Any) -> Any:
    wanted = tuple(shape)
    if tuple(x.shape[-len(wanted) :]) != wanted or not x.is_floating_point():
        return NotImplemented
    if any(t is not None and tuple(t.shape) != wanted for t in (weight, bias)) or not x.is_meta:
        return NotImplemented
    return _empty(x.shape, dtype=x.dtype, device=META)  # contiguous whatever the input's layout


@_shortcut(aten.rms_norm.default)
def _rms_norm(x: Tensor, shape: Sequence[int], weight: Any = None, *rest: Any) -> Any:
    wanted = tuple(shape)
    if tuple(x.shape[-len(wanted) :]) != wanted or not x.is_floating_point():
        return NotImplemented
    if weight is not None and (tuple(weight.shape) != wanted or weight.dtype != x.dtype):
        return NotImplemented
    return _like_contiguous(x)


@_shortcut(aten.group_norm.default)
def _group_norm(x: Tensor, groups: int, weight: Any = None, bias: Any = None, *rest: Any) -> Any:
    if x.dim() < 2 or x.shape[1] % groups or not x.is_floating_point():
        return NotImplemented
    if any(t is not None and t.shape[0] != x.shape[1] for t in (weight, bias)):
        return NotImplemented
    return _like_contiguous(x)


@_shortcut(aten.instance_norm.default)
def _instance_norm(
    x: Tensor, weight: Any, bias: Any, mean: Any, var: Any, use_input: bool, *rest: Any
) -> Any:
    if not use_input or x.dim() < 3 or not x.is_floating_point():
        return NotImplemented
    if any(t is not None and t.shape[0] != x.shape[1] for t in (weight, bias)):
        return NotImplemented
    return _like_contiguous(x)


# -- dense -------------------------------------------------------------------------------------------------------


@_shortcut(aten.linear.default)
def _linear(x: Tensor, weight: Tensor, bias: Any = None) -> Any:
    if not x.is_meta or weight.dim() != 2 or x.dim() == 0 or x.dtype != weight.dtype:
        return NotImplemented
    if x.shape[-1] != weight.shape[1] or not x.is_contiguous():
        return NotImplemented
    if bias is not None and (bias.dim() != 1 or bias.shape[0] != weight.shape[0] or bias.dtype != x.dtype):
        return NotImplemented
    return _empty((*x.shape[:-1], weight.shape[0]), dtype=x.dtype, device=META)


@_shortcut(aten.bmm.default)
def _bmm(a: Tensor, b: Tensor) -> Any:
    return _matmul(a, b) if a.dim() == 3 else NotImplemented


@_shortcut(aten.matmul.default)
def _matmul(a: Tensor, b: Tensor) -> Any:
    if not a.is_meta or not b.is_meta or a.dim() != b.dim() or a.dim() < 3 or a.dtype != b.dtype:
        return NotImplemented
    if a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
        return NotImplemented
    return _empty((*a.shape[:-1], b.shape[-1]), dtype=a.dtype, device=META)


@_shortcut(aten.scaled_dot_product_attention.default)
def _attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Any = None,
    dropout: float = 0.0,
    is_causal: bool = False,
    *,
    scale: Any = None,
    enable_gqa: bool = False,
) -> Any:
    """The CPU's fused kernel; other cases (3-D, grouped queries, unlike value width) keep their own."""
    if (
        enable_gqa
        or dropout
        or q.dim() != 4
        or k.shape != v.shape
        or not (q.is_meta and k.is_meta and v.is_meta)
    ):
        return NotImplemented
    if q.shape[:2] != k.shape[:2] or q.shape[3] != k.shape[3] or not q.dtype == k.dtype == v.dtype:
        return NotImplemented
    if q.stride(3) != 1 or k.stride(3) != 1 or v.stride(3) != 1:
        return NotImplemented
    if mask is not None and (is_causal or not _broadcasts_into(mask.shape, (*q.shape[:3], k.shape[2]))):
        return NotImplemented
    return _like_packed(q)


def _convolution(rank: int) -> Callable[..., Any]:
    ones, zeros = (1,) * rank, (0,) * rank

    def conv(
        x: Tensor,
        weight: Tensor,
        bias: Any = None,
        stride: Sequence[int] = ones,
        padding: Sequence[int] = zeros,
        dilation: Sequence[int] = ones,
        groups: int = 1,
    ) -> Any:
        shape, kernel = x.shape, weight.shape
        if not x.is_meta or len(shape) != rank + 2 or len(kernel) != rank + 2 or x.dtype != weight.dtype:
            return NotImplemented
        if shape[1] != kernel[1] * groups or kernel[0] % groups or not shape[0]:
            return NotImplemented
        channels_last = False
        if not x.is_contiguous():
            channels_last = rank == 2 and x.is_contiguous(memory_format=torch.channels_last)
            if not channels_last:
                return NotImplemented
        if not weight.is_contiguous():
            return NotImplemented
        if bias is not None and (bias.dim() != 1 or bias.shape[0] != kernel[0] or bias.dtype != x.dtype):
            return NotImplemented
        out = [shape[0], kernel[0]]
        for axis in range(rank):
            s, p, d = (v[axis] if len(v) == rank else v[0] for v in (stride, padding, dilation))
            if s < 1 or p < 0 or d < 1:
                return NotImplemented
            size = (shape[axis + 2] + 2 * p - d * (kernel[axis + 2] - 1) - 1) // s + 1
            if size < 1:
                return NotImplemented
            out.append(size)
        if channels_last:
            return _empty(out, dtype=x.dtype, device=META, memory_format=torch.channels_last)
        return _empty(out, dtype=x.dtype, device=META)

    return conv


SHORTCUTS[aten.conv1d.default] = _convolution(1)
SHORTCUTS[aten.conv2d.default] = _convolution(2)
SHORTCUTS[aten.conv3d.default] = _convolution(3)


# -- recurrent: the meta kernel runs every step -------------------------------------------------------------------


def _recurrent(gates: int) -> Callable[..., Any]:
    def layers_of(
        x: Tensor,
        hx: Any,
        params: Sequence[Tensor],
        has_biases: bool,
        num_layers: int,
        dropout: float,
        train: bool,
        bidirectional: bool,
        batch_first: bool,
    ) -> Any:
        """Output, last hidden state and, of an LSTM, last cell state; projections keep their own kernel."""
        states = [hx] if isinstance(hx, Tensor) else list(hx)
        hidden = states[0]
        if train or x.dim() != 3 or hidden.dim() != 3 or not x.numel():
            return NotImplemented
        directions = 2 if bidirectional else 1
        steps, batch = (x.shape[1], x.shape[0]) if batch_first else (x.shape[0], x.shape[1])
        width = hidden.shape[2]
        if any(tuple(state.shape) != (directions * num_layers, batch, width) for state in states):
            return NotImplemented
        if len(params) != directions * num_layers * (4 if has_biases else 2):
            return NotImplemented
        if tuple(params[0].shape) != (gates * width, x.shape[2]):
            return NotImplemented
        if any(not tensor.is_meta or tensor.dtype != x.dtype for tensor in (x, *states, *params)):
            return NotImplemented
        features = directions * width
        shape, strides = (steps, batch, features), (batch * features, features, 1)
        if batch_first:
            shape, strides = (batch, steps, features), (features, batch * features, 1)
        out = _empty_strided(shape, strides, dtype=x.dtype, device=META)
        return (out, *[_empty(state.shape, dtype=x.dtype, device=META) for state in states])

    return layers_of


SHORTCUTS[aten.lstm.input] = _recurrent(4)
SHORTCUTS[aten.gru.input] = _recurrent(3)
SHORTCUTS[aten.rnn_tanh.input] = SHORTCUTS[aten.rnn_relu.input] = _recurrent(1)


# -- pools, reductions, joins ------------------------------------------------------------------------------------


@_shortcut(aten.adaptive_avg_pool2d.default, aten.adaptive_avg_pool3d.default)
def _adaptive_pool(x: Tensor, size: Sequence[int]) -> Any:
    if not x.is_meta or x.dim() != len(size) + 2 or not x.is_contiguous() or not x.numel():
        return NotImplemented
    if any(type(part) is not int or part < 1 for part in size):
        return NotImplemented
    return _empty((*x.shape[:2], *size), dtype=x.dtype, device=META)


@_shortcut(aten.max_pool2d.default)
def _max_pool(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    ceil_mode: bool = False,
) -> Any:
    if not x.is_meta or x.dim() != 4 or not x.is_contiguous() or not x.numel():
        return NotImplemented
    return _pooled(x, kernel, stride or kernel, padding, dilation, ceil_mode)


@_shortcut(aten.avg_pool2d.default)
def _avg_pool(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0),
    ceil_mode: bool = False,
    *rest: Any,
) -> Any:
    if not x.is_meta or x.dim() != 4 or not x.is_contiguous() or not x.numel():
        return NotImplemented
    return _pooled(x, kernel, stride or kernel, padding, (1, 1), ceil_mode)


def _pooled(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> Any:
    out = []
    for axis in (0, 1):
        k, s, p, d = (v[axis] if len(v) == 2 else v[0] for v in (kernel, stride, padding, dilation))
        if s < 1 or k < 1 or d < 1 or not 0 <= 2 * p <= k:
            return NotImplemented
        span = x.shape[axis + 2] + 2 * p - d * (k - 1) - 1
        if span < 0:
            return NotImplemented
        size = -(-span // s) + 1 if ceil_mode else span // s + 1
        if ceil_mode and (size - 1) * s >= x.shape[axis + 2] + p:
            size -= 1  # the last window would start in the right padding
        out.append(size)
    return _empty((*x.shape[:2], *out), dtype=x.dtype, device=META)


@_shortcut(aten.mean.dim, aten.sum.dim_IntList)
def _reduce(x: Tensor, dims: Any, keepdim: bool = False, **kwargs: Any) -> Any:
    if kwargs or not dims or not x.is_meta or not x.is_floating_point() or not x.is_contiguous():
        return NotImplemented
    rank = x.dim()
    if any(not -rank <= dim < rank for dim in dims):
        return NotImplemented
    gone = {dim % rank for dim in dims}
    if len(gone) != len(dims):
        return NotImplemented
    if keepdim:
        shape = [1 if axis in gone else size for axis, size in enumerate(x.shape)]
    else:
        shape = [size for axis, size in enumerate(x.shape) if axis not in gone]
    return _empty(shape, dtype=x.dtype, device=META)


@_shortcut(aten.index.Tensor)
def _index(x: Tensor, indices: Sequence[Any]) -> Any:
    """``table[positions]``: one integer index over the first dimension."""
    if len(indices) != 1 or not x.is_meta or not x.dim() or not x.is_contiguous():
        return NotImplemented
    index = indices[0]
    if index is None or index.dtype != torch.int64 or not index.is_meta or not index.is_contiguous():
        return NotImplemented
    return _empty((*index.shape, *x.shape[1:]), dtype=x.dtype, device=META)


@_shortcut(aten.cat.default)
def _cat(tensors: Sequence[Tensor], dim: int = 0) -> Any:
    first = tensors[0]
    rank = first.dim()
    if not rank or not -rank <= dim < rank:
        return NotImplemented
    dim %= rank
    before, after = first.shape[:dim], first.shape[dim + 1 :]
    total = 0
    for x in tensors:
        shape = x.shape
        if len(shape) != rank or x.dtype != first.dtype or not x.is_meta or not x.is_contiguous():
            return NotImplemented
        if shape[:dim] != before or shape[dim + 1 :] != after:
            return NotImplemented
        total += shape[dim]
    return _empty((*before, total, *after), dtype=first.dtype, device=META)


# -- resampling --------------------------------------------------------------------------------------------------


@_shortcut(aten.upsample_bilinear2d.vec, aten.upsample_bicubic2d.vec)
def _upsample(x: Tensor, size: Any, align: bool, scales: Any = None) -> Any:
    if size is None or len(size) != 2 or x.dim() != 4 or not x.is_floating_point() or min(size) < 1:
        return NotImplemented
    if not x.is_meta or not x.is_contiguous() or not x.numel():
        return NotImplemented
    return _empty((*x.shape[:2], *size), dtype=x.dtype, device=META)


@_shortcut(aten.grid_sampler.default)
def _grid_sampler(x: Tensor, grid: Tensor, *rest: Any) -> Any:
    if not x.is_meta or not grid.is_meta or x.dim() != 4 or grid.dim() != 4 or x.dtype != grid.dtype:
        return NotImplemented
    if x.shape[0] != grid.shape[0] or grid.shape[3] != 2 or not x.numel() or not x.is_contiguous():
        return NotImplemented
    return _empty((*x.shape[:2], grid.shape[1], grid.shape[2]), dtype=x.dtype, device=META)
