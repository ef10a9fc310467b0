"""What changed: the sentences (without Qt) and the panel."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QLabel, QPushButton
from pytestqt.qtbot import QtBot

from engine.edits import SetAttribute
from engine.graph import InputShape
from engine.results import Analysis, Configuration
from engine.summary import Sentence, Summary, input_change, summarise
from gui.models.comparison import Comparer
from gui.selection import Selection
from gui.theme import ThemeManager
from gui.views.what_changed import WhatChangedPanel
from gui.workspace import Workspace
from tests.gui.analyses import Mod, Row, make, small_net
from tests.gui.panels import bring, workspace_of


def plain(sentence: Sentence) -> str:
    return "".join(span.text for span in sentence)


def summary(analysis: Analysis, baseline: Analysis | None, mode: str = "macs") -> Summary:
    return summarise(Comparer().compare(analysis, baseline), mode)


def where(result: Summary) -> list[str]:
    return [plain(sentence) for sentence in result.where]


def edited(analysis: Analysis, *edits: SetAttribute) -> Analysis:
    return msgspec.structs.replace(
        analysis, configuration=msgspec.structs.replace(analysis.configuration, edits=edits)
    )


def chain(costs: dict[str, int]) -> Analysis:
    """A model of linear layers with these MACs."""
    mods = [Mod("", "Net"), *(Mod(name, "Linear") for name in costs)]
    rows = [Row(f"{name}:linear", name, macs=macs, flops=2 * macs) for name, macs in costs.items()]
    return make(mods, rows)


# -- sentences -----------------------------------------------------------------------------------------------------


def test_a_removed_pool() -> None:
    result = summary(small_net(pool=False), small_net())
    assert plain(result.headline) == "Same parameters, 2.71\N{THIN SPACE}× the MACs, the same peak memory."
    assert where(result) == [
        "Everything after pool works on 4.00\N{THIN SPACE}× the positions.",
        "Only conv1, relu and fc cost what they did.",
    ]
    assert result.python == ("model.pool = nn.Identity()",)
    links = [span.node for sentence in result.where for span in sentence if span.node is not None]
    assert links == ["pool", "conv1:conv2d", "relu:relu", "fc:linear"]


def test_a_larger_input() -> None:
    result = summary(small_net(256), small_net())
    assert (
        plain(result.headline)
        == "Same parameters, 31\N{THIN SPACE}% more MACs, 31\N{THIN SPACE}% more peak memory."
    )
    assert where(result)[-1] == "Only fc costs what it did."
    assert result.circumstances == ("x: 224×224 → 256×256",)
    assert result.python == ()


def test_less_is_said_as_less() -> None:
    result = summary(small_net(200), small_net())
    assert (
        plain(result.headline)
        == "Same parameters, 20\N{THIN SPACE}% fewer MACs, 20\N{THIN SPACE}% less peak memory."
    )


def test_the_baseline_itself_is_empty() -> None:
    assert summary(small_net(), small_net()).is_empty
    assert summary(small_net(), None).is_empty


def test_factors_are_grouped_and_the_dearest_comes_first() -> None:
    before = chain({"a": 10, "b": 10, "c": 100, "d": 7})
    after = edited(chain({"a": 20, "b": 20, "c": 300, "d": 7}), SetAttribute("a", "stride", 1))
    result = summary(after, before)
    assert where(result) == [
        "c costs 3.00\N{THIN SPACE}× what it did.",
        "a and b cost 2.00\N{THIN SPACE}× what they did.",
        "Only d costs what it did.",
    ]


def test_a_part_that_holds_nearly_all_is_opened() -> None:
    result = summary(small_net(pool=False), small_net())
    assert [part.label for part in result.contributors] == ["blocks.0", "blocks.1"]


def test_contributors_add_up() -> None:
    before = chain({"a": 100, "b": 100})
    result = summary(edited(chain({"a": 400, "b": 200}), SetAttribute("a", "stride", 1)), before)
    assert [(part.label, part.change, part.share) for part in result.contributors] == [
        ("a", "+300", "75\N{THIN SPACE}%"),
        ("b", "+100", "25\N{THIN SPACE}%"),
    ]


def test_flops_have_their_own_sentence() -> None:
    assert "FLOPs" in plain(summary(small_net(pool=False), small_net(), "flops").headline)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ((1, 3, 224, 224), (1, 3, 256, 192), "224×224 → 256×192"),
        ((1, 3, 224, 224), (8, 3, 224, 224), "batch 1 → 8"),
        ((1, 128), (1, 256), "1×128 → 1×256"),
        ((1, 3, 8, 8), (2, 3, 9, 9), "1×3×8×8 → 2×3×9×9"),
    ],
)
def test_input_change(before: tuple[int, ...], after: tuple[int, ...], words: str) -> None:
    assert input_change(InputShape("x", before), InputShape("x", after)) == words


def test_another_model_and_assumptions_are_said() -> None:
    before = chain({"a": 1})
    other = msgspec.structs.replace(
        before,
        model=msgspec.structs.replace(before.model, name="old", source="old.json"),
        configuration=Configuration(before.configuration.inputs, assumptions=(("proposals", 1000),)),
    )
    after = msgspec.structs.replace(
        chain({"a": 2}),
        configuration=Configuration(before.configuration.inputs, assumptions=(("proposals", 300),)),
    )
    assert summary(after, other).circumstances == ("Compared with old", "proposals: 1,000 → 300")


# -- panel ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return workspace_of(tmp_path, small_net(), small_net())


@pytest.fixture
def selection() -> Selection:
    return Selection()


@pytest.fixture
def panel(workspace: Workspace, selection: Selection, qapp: QApplication, qtbot: QtBot) -> WhatChangedPanel:
    panel = WhatChangedPanel(workspace, selection, ThemeManager(qapp, "light"))
    qtbot.addWidget(panel)
    return panel


def label(panel: WhatChangedPanel, name: str) -> QLabel:
    found = panel.findChild(QLabel, name)
    assert found is not None
    return found


def button(panel: WhatChangedPanel, name: str) -> QPushButton:
    found = panel.findChild(QPushButton, name)
    assert found is not None
    return found


def test_empty_states(panel: WhatChangedPanel, workspace: Workspace) -> None:
    assert "this is the baseline" in label(panel, "what_changed_where").text()
    assert button(panel, "copy_python").isHidden()
    workspace.baseline = None
    workspace.baseline_changed.emit()
    assert "No baseline" in label(panel, "what_changed_where").text()
    workspace.analysis = workspace.configuration = None
    workspace.model_changed.emit()
    assert "Open a model" in label(panel, "what_changed_where").text()


def test_the_experiment(
    panel: WhatChangedPanel, workspace: Workspace, selection: Selection, qtbot: QtBot
) -> None:
    bring(workspace, small_net(pool=False))
    assert "2.71\N{THIN SPACE}×" in label(panel, "what_changed_headline").text()
    assert "against as opened" in label(panel, "what_changed_baseline").text()
    assert "model.pool = nn.Identity()" in label(panel, "what_changed_python").text()
    qtbot.mouseClick(button(panel, "copy_python"), Qt.MouseButton.LeftButton)
    assert QGuiApplication.clipboard().text() == "model.pool = nn.Identity()\n"
    label(panel, "what_changed_where").linkActivated.emit("node:conv1%3Aconv2d")
    assert selection.current == "conv1:conv2d"
    qtbot.mouseClick(button(panel, "reset_edits"), Qt.MouseButton.LeftButton)
    assert workspace.configuration is not None
    assert workspace.configuration.edits == ()
    assert button(panel, "reset_edits").isHidden(), "the edits shown are those asked for"


def test_count_mode(panel: WhatChangedPanel, workspace: Workspace) -> None:
    bring(workspace, small_net(pool=False))
    workspace.set_count_mode("flops")
    assert "FLOPs" in label(panel, "what_changed_headline").text()


def test_controls_can_be_found_and_read_aloud(panel: WhatChangedPanel) -> None:
    for name in ("copy_python", "reset_edits"):
        assert button(panel, name).accessibleName() and button(panel, name).toolTip()
