"""The panels over a real engine process: open a model, take out a layer, read what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication, QLabel
from pytestqt.qtbot import QtBot

from engine.metrics import METRICS
from gui.engine_client import EngineClient
from gui.models.roles import Role
from gui.selection import Selection
from gui.settings import Settings
from gui.theme import ThemeManager
from gui.views.cards import CardsBar
from gui.views.inspector import InspectorPanel
from gui.views.layer_panel import LayerPanel
from gui.views.what_changed import WhatChangedPanel
from gui.workspace import Workspace
from tests.gui.panels import flush, measuring_of

START_MS = 60_000


@pytest.fixture
def engine() -> Iterator[EngineClient]:
    engine = EngineClient()
    engine.start()
    yield engine
    engine.stop()


def test_resnet_without_its_maxpool(
    engine: EngineClient, tmp_path: Path, qapp: QApplication, qtbot: QtBot
) -> None:
    settings = Settings(str(tmp_path / "settings.ini"))
    workspace, selection, theme = Workspace(engine, settings), Selection(), ThemeManager(qapp, "light")
    layers = LayerPanel(workspace, selection, theme, settings)
    cards = CardsBar(workspace, measuring_of(workspace), theme)
    inspector = InspectorPanel(workspace, selection, theme)
    changed = WhatChangedPanel(workspace, selection, theme)
    for panel in (layers, cards, inspector, changed):
        qtbot.addWidget(panel)

    with qtbot.waitSignal(workspace.analysis_changed, timeout=START_MS):
        workspace.open_source("torchvision:resnet50")
    model = layers.model
    assert model.data(model.index_of("", model.section_of("headline")), Role.SORT) == 4_089_184_256
    structure, cells = model.structure, model.cells
    assert structure is not None and cells is not None
    for metric in METRICS:
        if metric.combine == "sum" and not (metric.measured or metric.weighed):
            parts = [cells.values.value(child, metric.key) or 0 for child in structure.children[0]]
            assert sum(parts) == cells.values.total(metric.key), metric.key

    selection.set_current("maxpool")
    with qtbot.waitSignal(workspace.analysis_changed, timeout=START_MS):
        workspace.remove_layer("maxpool")
    assert model.data(model.index_of("", model.section_of("headline")), Role.SORT) == 15_996_551_168
    assert model.data(model.index_of("maxpool"), Role.CELL).flag == "removed"
    assert cards.cards["headline"].words.difference == "×\N{NARROW NO-BREAK SPACE}3.91"
    assert cards.cards["params"].words.difference == "="
    flush(inspector, changed)
    where = changed.findChild(QLabel, "what_changed_where")
    title = inspector.findChild(QLabel, "inspector_title")
    assert where is not None and title is not None
    assert "positions" in where.text()
    assert title.text() == "maxpool"
