"""The ONNX project's own models: every operator's cases with their data, and the files that its package ships."""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import onnx
from onnx.backend.test.case import node as node_cases

from engine.graph import Shape

ONNX_DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"


class Case(NamedTuple):
    """One model and what is known of its inputs and outputs."""

    name: str
    model: onnx.ModelProto
    inputs: dict[str, Any]
    """By name, of the case's data: arrays, lists (sequences) or None; empty for a file."""
    outputs: dict[str, Any]

    def write(self, folder: Path) -> Path:
        """The model as a file below ``folder``."""
        path = folder / f"{self.name}.onnx"
        path.write_bytes(self.model.SerializeToString())
        return path


def node_modules() -> list[str]:
    """Names of the modules that make the cases, about one per operator; sample these: making all cases takes 4 s."""
    found = pkgutil.walk_packages(node_cases.__path__, f"{node_cases.__name__}.")
    return [
        each.name for each in found if not each.ispkg and not each.name.rpartition(".")[2].startswith("_")
    ]


@lru_cache(256)
def cases_of(module: str) -> tuple[Case, ...]:
    """All cases that one of ``node_modules()`` makes."""
    made = node_cases._NodeTestCases
    before = len(made)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module(module)
    new = made[before:]
    del made[before:]
    return tuple(_case(each) for each in new)


def files() -> list[Path]:
    """Every .onnx that the package ships: 149 of them."""
    return sorted(ONNX_DATA.rglob("*.onnx"))


def shape_of(value: Any) -> Shape | None:
    """Of an input or output of a case; None for what is no tensor."""
    if isinstance(value, onnx.TensorProto):
        return tuple(value.dims)
    return tuple(value.shape) if isinstance(value, (numpy.ndarray, numpy.generic)) else None


def _case(each: Any) -> Case:
    given, made = each.data_sets[0]
    graph = each.model.graph
    return Case(
        each.name,
        each.model,
        dict(zip((value.name for value in graph.input), given, strict=False)),
        dict(zip((value.name for value in graph.output), made, strict=False)),
    )
