"""Whether the layer behind a node can be removed or brought back, and if not, why. Pure; no Qt."""

from __future__ import annotations

from dataclasses import dataclass

from engine.edits import Edit, RemoveLayer
from engine.results import Analysis


@dataclass(frozen=True)
class Removal:
    """What the button "Remove layer" or "Restore layer" does for one module."""

    path: str
    is_removed: bool
    obstacle: str = ""
    """Why it cannot be done now; empty when it can."""
    is_onnx: bool = False

    @property
    def label(self) -> str:
        return "Restore layer" if self.is_removed else "Remove layer"

    @property
    def tooltip(self) -> str:
        if self.obstacle:
            return self.obstacle
        if self.is_removed:
            return f"Bring {self.path} back"
        if self.is_onnx:
            return f"Take {self.path} out of the graph: what goes in goes on to what read its output"
        return f"Replace {self.path} by identity (nn.Identity)"


def module_path(node: str) -> str:
    """Path of the module a node is or belongs to: ``layer1.0.conv1`` of ``layer1.0.conv1:conv2d``."""
    return node.rpartition(":")[0] if ":" in node else node


def removals(edits: tuple[Edit, ...]) -> frozenset[str]:
    """Paths of the layers that ``edits`` remove."""
    return frozenset(edit.layer for edit in edits if isinstance(edit, RemoveLayer))


def removal(analysis: Analysis, path: str, edits: tuple[Edit, ...], no_edits: str = "") -> Removal:
    """What can be done to the module at ``path`` of a model of which ``edits`` are asked, also in vain.

    ``no_edits`` says why nothing can be changed in this model.
    """
    removed = removals(edits)
    is_removed, is_onnx = path in removed, analysis.model.format == "onnx"
    if no_edits:
        return Removal(path, is_removed, no_edits)
    if not path:
        return Removal(path, is_removed, "The model itself cannot be removed")
    parent = path
    while parent := parent.rpartition(".")[0]:
        if parent in removed:
            return Removal(path, is_removed, f"{parent} is removed: restore it first")
    return Removal(path, is_removed, is_onnx=is_onnx)
