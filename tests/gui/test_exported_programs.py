"""Exported programs in the window's workspace, through the real engine process."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from pytestqt.qtbot import QtBot
from torch import nn
from torch.export import Dim

from engine.api import analyze
from engine.edits import RemoveLayer
from gui.workspace import Workspace
from tests.engine.model_files import Convolutional, Recurrent, Transformer, build, save_exported
from tests.gui.conftest import open_model, wait_current


@pytest.mark.parametrize(
    ("kind", "removable"), [(Convolutional, "stem.2"), (Transformer, "out"), (Recurrent, "out")]
)
def test_numbers_and_edits(
    workspace: Workspace, qtbot: QtBot, tmp_path: Path, kind: type[nn.Module], removable: str
) -> None:
    module, example = build(kind)
    save_exported(module, example, tmp_path / "net.pt2")
    open_model(qtbot, workspace, str(tmp_path / "net.pt2"), trust=True)
    assert workspace.model is not None and workspace.model.fixed_sizes
    for edits in ((), (RemoveLayer(removable),)):
        if edits:
            workspace.remove_layer(removable)
            wait_current(qtbot, workspace)
        assert workspace.analysis is not None
        expected = analyze(module, (example,), edits).totals
        totals = workspace.analysis.totals
        assert (totals.params, totals.macs) == (expected.params, expected.macs)


def test_slider_of_a_dynamic_size(workspace: Workspace, qtbot: QtBot, tmp_path: Path) -> None:
    module, example = build(Convolutional)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, (example,), dynamic_shapes=({0: Dim("batch", max=16)},))
        torch.export.save(program, tmp_path / "net.pt2")
    open_model(qtbot, workspace, str(tmp_path / "net.pt2"), trust=True)
    assert workspace.symbols() == ["batch"]
    workspace.set_sizes({"batch": 5})
    wait_current(qtbot, workspace)
    assert workspace.analysis is not None
    assert workspace.analysis.totals.macs == analyze(module, (5, 3, 8, 8)).totals.macs
