"""Nothing that torch.nn executes in eval is unknown, and no formula fails on the arguments that torch
really passes.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from engine.cost import cost_of
from tests.engine.op_calls import Calls, meta

X, ROW, VOLUME = (2, 4, 12, 12), (2, 4, 12), (2, 4, 6, 6, 6)


# fmt: off
def activations() -> None:
    x = meta(*X)
    for function in (
        F.relu, F.relu6, F.elu, F.selu, F.celu, F.leaky_relu, F.rrelu, F.gelu, F.silu, F.mish, F.softplus,
        F.hardtanh, F.hardswish, F.hardsigmoid, F.hardshrink, F.softshrink, F.tanhshrink, F.softsign,
        F.logsigmoid, torch.sigmoid, torch.tanh, F.glu,
    ):
        function(x)
    F.prelu(x, meta(4))
    F.threshold(x, 0.1, 0.2)
    F.gelu(x, approximate="tanh")
    F.dropout(x, 0.5, False)
    F.alpha_dropout(x, 0.5, False)
    F.feature_alpha_dropout(x, 0.5, False)
    for softmax in (F.softmax, F.log_softmax, F.softmin, torch.logsumexp):
        softmax(x, 1)
    torch.nn.functional.relu_(x)


def pools_and_sampling() -> None:
    x, row, volume = meta(*X), meta(*ROW), meta(*VOLUME)
    F.max_pool1d(row, 2)
    F.max_pool2d(x, 3, 2, 1)
    F.max_pool2d(x, 2, return_indices=True)
    F.max_pool3d(volume, 2)
    F.avg_pool1d(row, 2)
    F.avg_pool2d(x, 2)
    F.avg_pool3d(volume, (1, 2, 2))
    F.adaptive_avg_pool1d(row, 5)
    F.adaptive_avg_pool2d(x, (5, None))
    F.adaptive_avg_pool3d(volume, 1)
    F.adaptive_max_pool1d(row, 5)
    F.adaptive_max_pool2d(x, 5)
    F.lp_pool2d(x, 2, 2)
    for mode in ("nearest", "nearest-exact", "bilinear", "bicubic", "area"):
        F.interpolate(x, scale_factor=2, mode=mode)
    F.interpolate(x, size=(5, 6), mode="bilinear", antialias=True)
    F.interpolate(row, scale_factor=2, mode="linear")
    F.interpolate(volume, scale_factor=2, mode="trilinear")
    for mode in ("bilinear", "nearest", "bicubic"):
        F.grid_sample(x, meta(2, 5, 5, 2), mode=mode, align_corners=False)
    F.grid_sample(volume, meta(2, 5, 5, 5, 3), align_corners=False)
    F.affine_grid(meta(2, 2, 3), [2, 4, 12, 12], align_corners=False)


def norms_and_reductions() -> None:
    x, row = meta(*X), meta(*ROW)
    F.batch_norm(x, meta(4), meta(4))
    F.layer_norm(x, (12, 12))
    F.group_norm(x, 2, meta(4), meta(4))
    F.instance_norm(x)
    F.rms_norm(x, (12,))
    F.local_response_norm(x, 3)
    F.normalize(x)
    F.cosine_similarity(x, x)
    F.pairwise_distance(row, row)
    torch.cdist(row, row)
    torch.pdist(row[0])
    torch.linalg.norm(x, dim=1)
    torch.linalg.matrix_norm(x)
    torch.var_mean(x, 1)
    torch.std_mean(x)
    torch.aminmax(x)
    for name in ("sum", "prod", "all", "any", "max", "min", "argmax", "argmin", "mean", "var", "std", "norm"):
        getattr(x, name)()
    for name in ("sum", "prod", "all", "any", "max", "min", "argmax", "amax", "amin", "mean", "var", "std"):
        getattr(x, name)(dim=1)
    torch._weight_norm(meta(5, 4), meta(5, 1), 0)
    torch.norm_except_dim(meta(5, 4), 2, 0)


def arithmetic() -> None:
    x = meta(*X)
    for name in (
        "neg", "abs", "sign", "square", "floor", "ceil", "round", "trunc", "frac", "sqrt", "rsqrt",
        "reciprocal",
        "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan",
        "sinh", "cosh", "asinh", "acosh", "atanh", "erf", "erfc", "erfinv", "logit", "sinc", "isnan", "isinf",
        "nan_to_num", "logical_not", "lgamma", "digamma",
    ):
        getattr(x, name)()
    for name in (
        "add", "sub", "mul", "div", "pow", "fmod", "remainder", "floor_divide", "maximum", "minimum", "atan2",
        "hypot", "logaddexp", "xlogy", "eq", "ne", "lt", "le", "gt", "ge", "max", "min", "copysign",
        "logical_and", "logical_or", "logical_xor",
    ):
        getattr(x, name)(x)
    for result in (
        2 - x, x / 2, 2 / x, x // 2, x % 2, x**2, 2**x, x.add(x, alpha=2), ~(x > 0), (x > 0) & (x < 1),
    ):
        assert result.shape == x.shape
    x.clamp(0, 1)
    x.clamp_min(0)
    x.add_(1).mul_(2)
    x.masked_fill(x > 0, 0)
    torch.where(x > 0, x, 0.0)
    torch.addcmul(x, x, x)
    torch.addcdiv(x, x, x, value=2)
    torch.lerp(x, x, 0.5)
    torch.outer(meta(3), meta(4))
    torch.linalg.cross(meta(5, 3), meta(5, 3))


def movement() -> None:
    x, row = meta(*X), meta(*ROW)
    index = torch.zeros((2, 3), dtype=torch.long, device="meta")
    places = torch.zeros(X, dtype=torch.long, device="meta")
    F.embedding(index, meta(10, 4))
    F.embedding_bag(index, meta(10, 4))
    F.pad(x, (1, 1))
    F.pad(x, (1, 1, 1, 1), mode="reflect")
    F.pad(x, (1, 1, 1, 1), mode="circular")
    F.pixel_shuffle(x, 2)
    F.pixel_unshuffle(x, 2)
    F.channel_shuffle(x, 2)
    F.fold(F.unfold(x, 3), (12, 12), 3)
    torch.cat([x, x])
    torch.stack([x, x])
    torch.meshgrid(meta(3), meta(4), indexing="ij")
    torch.arange(4, device="meta").repeat_interleave(2)
    for moved in (
        x.chunk(2, 1), x.split(2, 1), x.unbind(0), x.flatten(1), x.permute(0, 2, 3, 1).contiguous(),
        x.roll(1, 1),
        x.flip(1), x.repeat(1, 2, 1, 1), x.tril(), x.to(torch.float16), x.mT, x[:, index], x[:, :2],
        x[..., None],
        x.index_select(1, index[0]), x.gather(1, places), x.scatter(1, places, x),
        x.scatter_add(0, places, x),
        row.index_add(1, index[0], row[:, :3]), x.view(2, -1), x.expand_as(x), x.clone(), x.detach(),
        x.new_zeros(3), torch.full_like(x, 1.0), x.unfold(2, 3, 1), x.movedim(1, 2), x.swapaxes(0, 1),
    ):
        assert moved is not None
    x[:, :2] = 0
    x.copy_(x)


def losses() -> None:
    x = meta(4, 10)
    target = torch.zeros(4, dtype=torch.long, device="meta")
    for loss in (F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, F.binary_cross_entropy_with_logits):
        loss(x, x)
    F.kl_div(x, x, reduction="batchmean")
    F.cross_entropy(x, target)
    F.nll_loss(x, target)
# fmt: on


@pytest.mark.parametrize(
    "run", [activations, pools_and_sampling, norms_and_reductions, arithmetic, movement, losses]
)
def test_every_operation_has_flops(run: Callable[[], None]) -> None:
    with torch.inference_mode(), Calls() as recorded:
        run()
    works = {call.op: cost_of(call)[1] for call in recorded.calls}
    assert {op: work.formula for op, work in works.items() if work.flops is None} == {}
    assert all(work.flops is not None and work.flops >= 0 for work in works.values())
