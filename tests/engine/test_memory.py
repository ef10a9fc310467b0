"""Peak and activation bytes equal the storage lifetimes of a real CPU run, to the byte."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engine.api import analyze
from engine.loaders import load
from engine.loaders.loaded import LoadOptions
from engine.session import Session
from tests.conftest import sampled


class Lifetimes(TorchDispatchMode):
    """Written apart from the recorder: weak references to every new storage of a real run."""

    def __init__(self, static: list[Tensor]) -> None:
        super().__init__()
        self.static = {tensor.untyped_storage()._cdata for tensor in static}
        self.live: dict[int, Any] = {}
        self.now = self.peak = self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        taken = {a.untyped_storage()._cdata for a in tree_leaves((args, kwargs)) if isinstance(a, Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if not isinstance(tensor, Tensor):
                continue
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key in self.static or key in self.live or key in taken:
                continue
            size = storage.nbytes()
            self.now += size
            self.total += size

            def gone(_: Any, key: int = key, size: int = size) -> None:
                self.live.pop(key, None)
                self.now -= size

            self.live[key] = weakref.ref(storage, gone)
        self.peak = max(self.peak, self.now)
        return out


def real_run(model: nn.Module, args: tuple[Any, ...]) -> Lifetimes:
    static = [*model.parameters(), *model.buffers(), *(a for a in tree_leaves(args) if isinstance(a, Tensor))]
    lifetimes = Lifetimes(static)
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.inference_mode(), lifetimes:
            model.eval()(*args)
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
    return lifetimes


ZOO = [
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "fcn_resnet50", "googlenet", "inception_v3",
    "lraspp_mobilenet_v3_large", "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "mvit_v2_s",
    "r3d_18", "regnet_y_400mf", "resnet18", "resnet50", "shufflenet_v2_x1_0", "squeezenet1_1", "swin_t", "swin_v2_t",
    "vgg11_bn", "vit_b_16", "vit_b_32", "raft_small", "s3d", "swin3d_t",
]  # fmt: skip


@pytest.mark.parametrize("name", ["resnet50", *sampled(ZOO, 5, "memory")])
def test_zoo(name: str) -> None:
    loaded = load(f"torchvision:{name}", LoadOptions())
    session = Session(loaded)
    totals = session.analyze(session.default_configuration()).totals
    assert loaded.binding is not None
    args, _ = loaded.binding.arguments(
        loaded.binding.defaults(), lambda shape, dtype: torch.randn(shape, dtype=dtype)
    )
    measured = real_run(loaded.build_real(), args)
    assert (totals.activation_bytes, totals.peak_activation_bytes) == (measured.total, measured.peak)


class UNet(nn.Module):
    """Skips that keep early activations alive while the middle runs."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            [nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1), nn.Conv2d(16, 32, 3, 2, 1)]
        )
        self.up = nn.ModuleList([nn.ConvTranspose2d(32, 16, 2, 2), nn.ConvTranspose2d(32, 8, 2, 2)])
        self.head = nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for layer in self.down:
            x = layer(x).relu()
            skips.append(x)
        skips.pop()
        for layer in self.up:
            x = torch.cat([layer(x), skips.pop()], 1)
        return self.head(x)  # type: ignore[no-any-return]


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.lstm = nn.LSTM(16, 24, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(48, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.lstm(self.embedding(tokens))[0])  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("model", "args"),
    [
        (UNet(), (torch.randn(2, 3, 64, 64),)),
        (Tagger(), (torch.zeros(3, 11, dtype=torch.int64),)),
        (nn.GRU(8, 16, batch_first=True), (torch.randn(2, 9, 8),)),
        (nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), (torch.randn(2, 7, 32),)),
        (
            nn.TransformerDecoderLayer(32, 4, 64, batch_first=True),
            (torch.randn(2, 7, 32), torch.randn(2, 5, 32)),
        ),
    ],
    ids=["unet", "lstm", "gru", "encoder", "decoder"],
)
def test_small_models(model: nn.Module, args: tuple[Tensor, ...]) -> None:
    totals = analyze(model, args).totals
    measured = real_run(model, args)
    assert (totals.activation_bytes, totals.peak_activation_bytes) == (measured.total, measured.peak)


def test_in_place_and_views_write_nothing_new() -> None:
    class Model(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x + 1  # one new storage of 4 × 8 floats
            return y.relu_().view(32)[3:].add_(2)

    totals = analyze(Model(), (4, 8)).totals
    assert totals.activation_bytes == totals.peak_activation_bytes == 4 * 8 * 4
