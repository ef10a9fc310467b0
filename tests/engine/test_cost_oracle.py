"""MACs against half of torch's FlopCounterMode on the meta device, as integers.

FlopCounterMode counts FLOPs as 2 per multiply–accumulate and nothing else; ours are recorded in inference
mode, where attention, einsum and linear stay whole, its own outside of it, where they are decomposed.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from engine.cost import cost_of
from engine.graph import OpCall
from tests.engine.op_calls import Calls, meta


def recorded(run: Callable[[], object]) -> list[OpCall]:
    """Everything ``run`` executes on meta in inference mode."""
    with torch.inference_mode(), Calls() as mode:
        run()
    return mode.calls


def total(numbers: list[int | None]) -> int:
    assert None not in numbers
    return sum(number for number in numbers if number is not None)


def macs(run: Callable[[], object]) -> int:
    return total([cost_of(call)[1].macs for call in recorded(run)])


def flops(run: Callable[[], object]) -> int:
    return total([cost_of(call)[1].flops for call in recorded(run)])


def oracle(run: Callable[[], object]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    counted = counter.get_total_flops()
    assert counted % 2 == 0
    return counted // 2


CASES: dict[str, Callable[[], object]] = {
    "conv1d": lambda: F.conv1d(meta(2, 6, 50), meta(8, 6, 5), meta(8), stride=2),
    "conv2d": lambda: F.conv2d(meta(2, 6, 17, 19), meta(8, 6, 3, 5), padding=1),
    "conv2d same": lambda: F.conv2d(meta(2, 6, 17, 19), meta(8, 6, 3, 3), padding="same"),
    "conv2d unbatched": lambda: F.conv2d(meta(6, 17, 19), meta(8, 6, 3, 3)),
    "conv2d grouped": lambda: F.conv2d(meta(2, 6, 17, 19), meta(9, 2, 3, 3), groups=3),
    "conv2d depthwise": lambda: F.conv2d(meta(2, 6, 17, 19), meta(12, 1, 3, 3), groups=6),
    "conv2d dilated": lambda: F.conv2d(meta(2, 6, 17, 19), meta(8, 6, 3, 3), dilation=2),
    "conv3d": lambda: F.conv3d(meta(1, 4, 8, 9, 10), meta(6, 2, 2, 3, 3), groups=2),
    "conv_transpose1d": lambda: F.conv_transpose1d(meta(2, 6, 11), meta(6, 4, 3), stride=2),
    "conv_transpose2d": lambda: F.conv_transpose2d(meta(2, 6, 7, 8), meta(6, 4, 3, 3), meta(4), 2, 1, 1),
    "conv_transpose2d grouped": lambda: F.conv_transpose2d(meta(2, 6, 7, 8), meta(6, 4, 2, 2), groups=2),
    "conv_transpose3d": lambda: F.conv_transpose3d(meta(1, 6, 3, 4, 5), meta(6, 4, 2, 2, 2), stride=2),
    "linear": lambda: F.linear(meta(2, 3, 5, 7), meta(11, 7), meta(11)),
    "linear vector": lambda: F.linear(meta(7), meta(11, 7)),
    "matmul": lambda: meta(4, 5) @ meta(5, 6),
    "matmul broadcast": lambda: meta(3, 1, 4, 5) @ meta(2, 5, 6),
    "matmul with a matrix": lambda: meta(3, 2, 4, 5) @ meta(5, 6),
    "bmm": lambda: torch.bmm(meta(3, 4, 5), meta(3, 5, 6)),
    "addmm": lambda: torch.addmm(meta(6), meta(4, 5), meta(5, 6)),
    "baddbmm": lambda: torch.baddbmm(meta(3, 4, 6), meta(3, 4, 5), meta(3, 5, 6)),
    "multi_dot": lambda: torch.linalg.multi_dot([meta(10, 100), meta(100, 5), meta(5, 50), meta(50, 2)]),
    "multi_dot vectors": lambda: torch.linalg.multi_dot([meta(10), meta(10, 5), meta(5, 8)]),
    "tensordot": lambda: torch.tensordot(meta(3, 4, 5), meta(5, 4, 6), dims=([1, 2], [1, 0])),
    "einsum matmul": lambda: torch.einsum("ij,jk->ik", meta(3, 4), meta(4, 5)),
    "einsum batched": lambda: torch.einsum("bhid,bhjd->bhij", meta(2, 3, 4, 5), meta(2, 3, 6, 5)),
    "einsum ellipsis": lambda: torch.einsum("...id,...jd->...ij", meta(2, 3, 4, 5), meta(3, 6, 5)),
    "einsum implicit": lambda: torch.einsum("ij,jk", meta(3, 4), meta(4, 5)),
    "einsum outer": lambda: torch.einsum("i,j->ij", meta(3), meta(4)),
    "einsum hadamard": lambda: torch.einsum("ij,ij->ij", meta(3, 4), meta(3, 4)),
    "einsum dot": lambda: torch.einsum("ij,ij->", meta(3, 4), meta(3, 4)),
    "einsum one operand": lambda: torch.einsum("ijk->ki", meta(3, 4, 5)),
    "einsum diagonal": lambda: torch.einsum("ii,ij->j", meta(4, 4), meta(4, 5)),
    "einsum summed alone": lambda: torch.einsum("ijk,kl->il", meta(3, 4, 5), meta(5, 6)),
    "einsum three": lambda: torch.einsum("ij,jk,kl->il", meta(3, 4), meta(4, 5), meta(5, 6)),
    "einsum bilinear": lambda: torch.einsum("bi,oij,bj->bo", meta(7, 3), meta(5, 3, 4), meta(7, 4)),
    "einsum size one": lambda: torch.einsum("ij,jk->ik", meta(3, 1), meta(1, 5)),
    "attention": lambda: F.scaled_dot_product_attention(
        meta(2, 4, 7, 16), meta(2, 4, 9, 16), meta(2, 4, 9, 24)
    ),
    "attention causal": lambda: F.scaled_dot_product_attention(
        meta(2, 4, 7, 16), meta(2, 4, 7, 16), meta(2, 4, 7, 16), is_causal=True
    ),
    "attention masked": lambda: F.scaled_dot_product_attention(
        meta(2, 4, 7, 16), meta(2, 4, 9, 16), meta(2, 4, 9, 16), attn_mask=meta(7, 9)
    ),
    "attention grouped query": lambda: F.scaled_dot_product_attention(
        meta(2, 8, 7, 16), meta(2, 2, 7, 16), meta(2, 2, 7, 16), is_causal=True, enable_gqa=True
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_macs_equal_half_of_flop_counter(case: str) -> None:
    assert macs(CASES[case]) == oracle(CASES[case])


def test_modules_equal_half_of_flop_counter() -> None:
    with torch.device("meta"):
        attention = nn.MultiheadAttention(64, 4, batch_first=True).eval()
        layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True, activation="gelu").eval()
    tokens = meta(2, 50, 64)
    for run in (lambda: attention(tokens, tokens, tokens), lambda: layer(tokens)):
        assert macs(run) == oracle(run) > 0


def test_what_flop_counter_does_not_know_is_counted() -> None:
    """It counts 0 for these; the formulas are written out."""
    with torch.device("meta"):
        bilinear = nn.Bilinear(3, 4, 5)
        lstm = nn.LSTM(32, 20, num_layers=2, bidirectional=True, proj_size=6, batch_first=True)
        gru = nn.GRU(32, 20)
    gates = 4 * 20
    first, second = gates * 32 + gates * 6 + 6 * 20, gates * 12 + gates * 6 + 6 * 20
    assert macs(lambda: bilinear(meta(6, 3), meta(6, 4))) == 6 * 5 * 3 * 4
    assert macs(lambda: lstm(meta(3, 10, 32))) == 3 * 10 * 2 * (first + second)
    assert macs(lambda: gru(meta(10, 3, 32))) == 10 * 3 * 3 * (20 * 32 + 20 * 20)
    assert macs(lambda: torch.mv(meta(4, 5), meta(5))) == 4 * 5
    assert macs(lambda: meta(4, 5) @ meta(5)) == 4 * 5
    assert macs(lambda: torch.dot(meta(9), meta(9))) == 9
    assert macs(lambda: torch.addbmm(meta(4, 7), meta(3, 4, 5), meta(3, 5, 7))) == 3 * 4 * 5 * 7
    assert macs(lambda: torch.cdist(meta(6, 16), meta(7, 16))) == 6 * 7 * 16


def test_deformable_convolution_counts_like_a_direct_one() -> None:
    def run() -> Tensor:
        return torchvision.ops.deform_conv2d(
            meta(2, 4, 8, 8), meta(2, 18, 8, 8), meta(6, 2, 3, 3), meta(6), padding=1
        )

    assert macs(run) == 2 * 6 * 8 * 8 * 2 * 3 * 3


def test_resnet50_flops() -> None:
    """Convolutions without bias; batch norm 2, ReLU and residual 1 per element, maxpool 8 comparisons, mean
    of 7×7.
    """
    with torch.device("meta"):
        model = torchvision.models.resnet50().eval()
    stem, pooled = 64 * 112 * 112, 64 * 56 * 56
    normed, rectified, added = stem, stem, 0
    # blocks, width, output size, size of the first block's first convolution
    for blocks, width, size, first in ((3, 64, 56, 56), (4, 128, 28, 56), (6, 256, 14, 28), (3, 512, 7, 14)):
        narrow, wide = width * size * size, 4 * width * size * size
        reduced = width * first * first + (blocks - 1) * narrow
        normed += reduced + blocks * (narrow + wide) + wide
        rectified += reduced + blocks * (narrow + wide)
        added += blocks * wide
    expected = 2 * normed + rectified + added + 8 * pooled + 2048 * 49 + 1000
    assert macs(lambda: model(meta(1, 3, 224, 224))) == 4_089_184_256
    assert flops(lambda: model(meta(1, 3, 224, 224))) == 2 * 4_089_184_256 + expected


def test_vit_b_16_flops() -> None:
    """196 patches and a class token, width 768, 12 layers of 12 heads, GELU by erf on 3072."""
    with torch.device("meta"):
        model = torchvision.models.vit_b_16().eval()
    tokens, width, hidden, heads = 197, 768, 3072, 12
    norm = tokens * (5 * width + 2 + 2 * width)
    attention = heads * tokens * (tokens + 5 * tokens - 2)
    biases = tokens * (3 * width + width + hidden + width)
    layer = 2 * norm + attention + biases + 5 * tokens * hidden + 2 * tokens * width
    expected = 196 * width + tokens * width + 12 * layer + norm + 1000
    assert flops(lambda: model(meta(1, 3, 224, 224))) == 2 * 17_563_828_224 + expected
