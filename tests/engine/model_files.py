"""Models and files of every kind, for the tests of ``engine.files``."""

from __future__ import annotations

import json
import struct
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import LoadError
from engine.files import Contents, read


class Convolutional(nn.Module):
    """A residual block with batch norm, and a buffer that the state dict leaves out."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.head = nn.Linear(8, 10)
        self.register_buffer("scale", torch.full((8, 1, 1), 2.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head((x + self.body(x) * self.scale).mean((2, 3)))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """Attention and tied embeddings, in half precision."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(50, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.out = nn.Linear(16, 50, bias=False)
        self.out.weight = self.tokens.weight
        self.to(torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layer(self.tokens(x)))  # type: ignore[no-any-return]


class Recurrent(nn.Module):
    """Two layers of LSTM in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 5, 2, bidirectional=True, batch_first=True)
        self.out = nn.Linear(10, 3, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.lstm(x)[0].double())  # type: ignore[no-any-return]


INPUTS: dict[type[nn.Module], Callable[[], Tensor]] = {
    Convolutional: lambda: torch.zeros(2, 3, 8, 8),
    Transformer: lambda: torch.zeros(2, 7, dtype=torch.int64),
    Recurrent: lambda: torch.zeros(2, 7, 6),
}


def build(kind: type[nn.Module]) -> tuple[nn.Module, Tensor]:
    """The module, in eval mode, and an input of it."""
    torch.manual_seed(0)
    return kind().eval(), INPUTS[kind]()


def save_script(module: nn.Module, example: Tensor, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(module, example, check_trace=False), path)  # type: ignore[no-untyped-call]


def save_exported(module: nn.Module, example: Tensor, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(module, (example,)), path)


_SAFETENSORS = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float64: "F64", torch.int64: "I64"}


def save_safetensors(state: Mapping[str, Tensor], path: Path) -> None:
    """Written after the format's description; ties are written out, as the format has none."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    pieces: list[bytes] = []
    end = 0
    for name, tensor in state.items():
        data = bytes(tensor.contiguous().flatten().view(torch.uint8).tolist())
        header[name] = {
            "dtype": _SAFETENSORS[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [end, end + len(data)],
        }
        pieces.append(data)
        end += len(data)
    path.write_bytes(safetensors_bytes(header, b"".join(pieces)))


def safetensors_bytes(header: Mapping[str, Any] | bytes, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def save_all(folder: Path, kind: type[nn.Module]) -> dict[str, Path]:
    """The model in every kind of file: kind → path, named so that no name tells what is in it."""
    module, example = build(kind)
    state = module.state_dict()
    names = ("state", "legacy", "module", "checkpoint", "script", "exported", "safetensors")
    paths = {name: folder / f"file{index}.bin" for index, name in enumerate(names)}
    torch.save(state, paths["state"])
    torch.save(state, paths["legacy"], _use_new_zipfile_serialization=False)
    torch.save(module, paths["module"])
    torch.save(checkpoint(module), paths["checkpoint"])
    save_script(module, example, paths["script"])
    save_exported(module, example, paths["exported"])
    save_safetensors(state, paths["safetensors"])
    return paths


def checkpoint(module: nn.Module) -> dict[str, Any]:
    """What a training run leaves: wrapped names, EMA, optimizer, arguments, numpy numbers."""
    import argparse
    from collections import OrderedDict, defaultdict

    import numpy

    optimizer = torch.optim.AdamW(module.parameters())
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return {
        "epoch": 7,
        "model": OrderedDict((f"module.{name}", tensor) for name, tensor in module.state_dict().items()),
        "ema": {f"module._orig_mod.{name}": tensor for name, tensor in module.state_dict().items()},
        "optimizer": optimizer.state_dict(),
        "args": argparse.Namespace(lr=0.1, data=Path("data"), sizes=[1, 2]),
        "best": numpy.float64(0.5),
        "curve": numpy.arange(6, dtype=numpy.float32).reshape(2, 3),
        "history": defaultdict(list, {"loss": [1.0, 0.5]}),
    }


def attempt(path: Path) -> Contents | LoadError:
    """What reading the file gives; any other exception fails the test."""
    try:
        return read(path)
    except LoadError as error:
        return error
