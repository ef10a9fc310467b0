"""Models that can be traced and scripted. TorchScript reads annotations as they stand, so they are no strings here."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class Convolutional(nn.Module):
    """A residual block, a grouped and a strided convolution, pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        )
        self.body = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.down = nn.Conv2d(8, 16, 3, stride=2)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.pool(self.down(x + self.body(x)))
        return self.head(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))


class Transformer(nn.Module):
    """Attention over tokens with positions made in forward(), and a head that shares the embedding's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(50, 16)
        self.positions = nn.Embedding(32, 16)
        self.norm = nn.LayerNorm(16)
        self.qkv = nn.Linear(16, 48)
        self.out = nn.Linear(16, 16)
        self.mlp = nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16))
        self.head = nn.Linear(16, 50, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, x: Tensor) -> Tensor:
        y = self.tokens(x) + self.positions(torch.arange(x.shape[1], device=x.device))
        batch, length, width = y.shape
        q, k, v = (
            self.qkv(self.norm(y)).view(batch, length, 3, 2, width // 2).permute(2, 0, 3, 1, 4).unbind(0)
        )
        attended = nn.functional.scaled_dot_product_attention(q, k, v)
        y = y + self.out(attended.transpose(1, 2).reshape(batch, length, width))
        return self.head(y + self.mlp(self.norm(y)))


class Recurrent(nn.Module):
    """Two layers of LSTM in both directions, then a GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 5, 2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(10, 4, batch_first=True)
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.lstm(x)
        z, _ = self.gru(y)
        return self.out(z)


INPUTS: dict[type[nn.Module], Callable[[], Tensor]] = {
    Convolutional: lambda: torch.zeros(2, 3, 20, 20),
    Transformer: lambda: torch.zeros(2, 7, dtype=torch.int64),
    Recurrent: lambda: torch.zeros(2, 7, 6),
}


def build(kind: type[nn.Module]) -> tuple[nn.Module, Tensor]:
    """The module, in eval mode, and an input of it."""
    torch.manual_seed(0)
    return kind().eval(), INPUTS[kind]()


def scripted(module: nn.Module, example: Tensor, how: str) -> Any:
    """The module as TorchScript: ``trace``, ``script`` or ``freeze``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if how == "trace":
            return torch.jit.trace(module, example, check_trace=False)
        script = torch.jit.script(module)
        return torch.jit.freeze(script) if how == "freeze" else script


def save(module: nn.Module, example: Tensor, how: str, path: Path) -> None:
    """Written to ``path`` as torch.jit.save does."""
    script = scripted(module, example, how)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(script, path)
