"""Tables of what a file holds: real files, sorted, filtered and copied."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from PySide6.QtCore import QItemSelectionModel, Qt
from PySide6.QtGui import QColor, QGuiApplication
from pytestqt.modeltest import ModelTester
from pytestqt.qtbot import QtBot

from engine.contents import Candidate, Contents
from engine.files import read
from gui.models.column_table import ROW_ROLE, ColumnTable
from gui.models.contents_pages import (
    ORIGINS,
    Column,
    Page,
    candidates_page,
    facts,
    pages,
    parts_page,
    tensors_page,
)
from gui.report_files import is_report
from gui.views.column_view import ColumnView
from tests.engine.model_files import Convolutional, build, save_all

FLAG = QColor("red")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Contents]:
    """One model in every kind of file."""
    paths = save_all(tmp_path_factory.mktemp("files"), Convolutional)
    return {kind: read(path) for kind, path in paths.items()}


def table_of(page: Page) -> ColumnTable:
    return ColumnTable(page, lambda: FLAG)


def column(page: Page, title: str) -> Column:
    return next(each for each in page.columns if each.title == title)


def test_every_kind_says_what_it_is_and_how_large(files: dict[str, Contents]) -> None:
    for contents in files.values():
        told = dict(facts(contents))
        assert told["Kind"] and told["Format"]
        assert f"{Path(contents.file).stat().st_size:,} bytes" in told["Size"]


def test_tensors_are_those_of_the_state_dict(files: dict[str, Contents]) -> None:
    state = build(Convolutional)[0].state_dict()
    page = tensors_page(files["state"])
    assert list(column(page, "Tensor").values) == list(state)
    assert [tuple(shape) for shape in column(page, "Shape").values] == [
        tuple(t.shape) for t in state.values()
    ]
    assert sum(column(page, "Elements").values) == sum(tensor.numel() for tensor in state.values())


def test_totals_add_up_and_select_their_tensors(files: dict[str, Contents]) -> None:
    contents = files["checkpoint"]
    page, parts = parts_page(contents)
    tensors = contents.tensors
    for row, part in enumerate(parts):
        held = [at for at in range(len(tensors.name)) if part.holds(tensors.group[at], tensors.name[at])]
        assert column(page, "Tensors").values[row] == len(held)
        if part.prefix:
            elements = sum(math.prod(tensors.shape[at]) for at in held)
            assert column(page, "Elements").values[row] == elements
    labels = [label.strip() for label in column(page, "Part").values]
    assert labels[0] == "All tensors"
    assert {"model", "ema", "stem", "body", "head"} <= set(labels)


def test_somebodys_code_comes_first_and_is_marked(tmp_path: Path) -> None:
    (tmp_path / "evil.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    page = pages(read(tmp_path / "evil.pkl"))[0]
    assert page.name == "code"
    origins = list(column(page, "Origin").values)
    assert origins == [ORIGINS["other"]] * 2
    assert page.flagged == {0, 1}
    table = table_of(page)
    assert table.data(table.index(0, 0), Qt.ItemDataRole.ForegroundRole) is FLAG
    assert "true" in table.tsv()


def test_what_is_not_in_the_file_has_no_page(files: dict[str, Contents]) -> None:
    names = {kind: [page.name for page in pages(contents)] for kind, contents in files.items()}
    assert names["safetensors"] == ["metadata"]
    assert {"operations", "inputs", "files"} <= set(names["exported"])
    assert "files" in names["script"]
    assert "operations" not in names["state"]


def numbers_page(count: int) -> Page:
    """Rows whose names sort otherwise than their sizes do."""
    names = [f"layer{row % 10}.weight{row}" for row in range(count)]
    sizes = [(row * 7919) % count for row in range(count)]
    return Page(
        "numbers",
        "Numbers",
        (
            Column("Name", "", names, searched=True),
            Column("Size", "", sizes, lambda size: f"about {size // 10}", str, number=True),
        ),
        flagged=frozenset({1}),
    )


def test_the_table_is_a_proper_model(qtmodeltester: ModelTester) -> None:
    table = table_of(numbers_page(20))
    table.set_filter("layer1")
    qtmodeltester.check(table)


def test_sorting_is_by_value_and_filtering_by_every_word(qtbot: QtBot) -> None:
    table = table_of(numbers_page(1000))
    table.sort(1, Qt.SortOrder.DescendingOrder)
    sizes = table.page.columns[1].values
    assert [sizes[row] for row in table.shown] == sorted(sizes, reverse=True)
    table.set_filter("LAYER3 weight33")
    names = [str(table.page.columns[0].values[row]) for row in table.shown]
    assert sorted(names) == sorted(
        name for name in table.page.columns[0].values if "layer3" in name and "weight33" in name
    )
    assert [sizes[row] for row in table.shown] == sorted((sizes[row] for row in table.shown), reverse=True)
    table.set_only(lambda row: row == 33)
    assert table.shown == [33]
    table.set_filter("")
    table.set_only(None)
    table.sort(-1)
    assert table.shown == list(range(1000))


def test_rows_are_copied_with_exact_numbers_in_the_order_shown(qtbot: QtBot) -> None:
    view = ColumnView(table_of(numbers_page(50)))
    qtbot.addWidget(view)
    view.show()
    view.sortByColumn(1, Qt.SortOrder.DescendingOrder)
    view.selectRow(0)
    view.selectionModel().select(
        view.table.index(2, 0),
        QItemSelectionModel.SelectionFlag.Select | QItemSelectionModel.SelectionFlag.Rows,
    )
    assert view.selected_rows() == [view.table.shown[0], view.table.shown[2]]
    qtbot.keyClick(view, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    lines = QGuiApplication.clipboard().text().splitlines()
    assert lines[0] == "Name\tSize"
    assert [line.split("\t")[1] for line in lines[1:]] == ["49", "47"]
    view.clearSelection()
    qtbot.keyClick(view, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    assert view.selected_rows() == view.table.shown
    view.sortByColumn(0, Qt.SortOrder.AscendingOrder)
    assert len(view.selected_rows()) == 50, "a selection survives sorting"


def test_the_current_row_stays_with_its_value_when_sorted(qtbot: QtBot) -> None:
    view = ColumnView(table_of(numbers_page(50)))
    qtbot.addWidget(view)
    view.selectRow(7)
    view.sortByColumn(1, Qt.SortOrder.DescendingOrder)
    assert view.currentIndex().data(ROW_ROLE) == 7


def test_candidates_sort_by_how_much_matches() -> None:
    found = [
        Candidate(f"w.pt@{name}", name, fit, matched, 10, 12, "why", rank)
        for name, fit, matched, rank in (("a", "exact", 10, 1), ("b", "partly", 9, 2), ("c", "partly", 3, 3))
    ]
    page = candidates_page(found)
    table = table_of(page)
    matched = [each.title for each in page.columns].index("Matched")
    table.sort(matched, Qt.SortOrder.AscendingOrder)
    assert table.shown == [2, 1, 0]
    assert table.index(0, matched).data() == "3 of 10"


def test_a_report_is_told_from_an_index_by_its_content(tmp_path: Path) -> None:
    def write(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    report = {"schema": "misnomer-report/1", "layers": [{"id": "x" * 90}] * 4000}
    assert is_report(write("r.json", json.dumps(report)))
    assert is_report(write("r.txt", json.dumps(report)))
    assert is_report(write("sorted.json", json.dumps(report, sort_keys=True)))
    index = {"metadata": {"total_size": 1}, "weight_map": {f"layer{at}": "a.bin" for at in range(9000)}}
    assert not is_report(write("model.safetensors.index.json", json.dumps(index)))
    assert not is_report(write("config.json", json.dumps({"model_type": "bert"})))
    assert is_report(write("damaged.json", '{"schema": "misnomer-rep')), (
        "the reader of reports says what is wrong"
    )
    assert not is_report(write("weights.pt", b"PK\x03\x04"))
    assert is_report(str(tmp_path / "missing.json"))
    assert not is_report(str(tmp_path))
