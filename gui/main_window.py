"""The window: composes the panels and connects the actions; it computes nothing."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from PySide6.QtCore import QMimeData, Qt, QTimer
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QKeySequence, QShowEvent
from PySide6.QtWidgets import (
    QApplication,
    QDialog,
    QFileDialog,
    QMainWindow,
    QMenu,
    QSplitter,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from engine import sources
from engine.contents import Contents
from engine.errors import ErrorInfo
from engine.protocol import Ready
from gui.charts import panels
from gui.desk import Desk
from gui.engine_client import NETWORK
from gui.measuring import Measuring
from gui.opening import ArchitectureRequest, ConsentRequest, inputs_text
from gui.selection import Selection
from gui.settings import Settings
from gui.theme import ThemeManager
from gui.views.actions import Actions
from gui.views.architecture_dialog import ArchitectureDialog
from gui.views.banner import Banner
from gui.views.callable_dialog import ask_callable
from gui.views.cards import CardsBar
from gui.views.consent_dialog import ConsentDialog, RealRunDialog
from gui.views.dock_panel import GRIP_PX, DockPanel
from gui.views.file_dialog import ContentsDialog
from gui.views.input_bar import InputBar
from gui.views.inspector import InspectorPanel
from gui.views.layer_panel import LayerPanel
from gui.views.measurement_panel import MeasurementPanel
from gui.views.save_model import ask_where
from gui.views.saved_strip import SavedStrip
from gui.views.settings_dialog import SettingsDialog
from gui.views.shape_dialog import ShapeDialog
from gui.views.status_bar import StatusBar
from gui.views.text_dialog import TextDialog
from gui.views.toolbar import Toolbar
from gui.views.what_changed import WhatChangedPanel
from gui.views.zoo_dialog import ZooDialog
from gui.workspace import Workspace

FILTERS = (
    "Models and reports (*.onnx *.pt *.pth *.pt2 *.bin *.ckpt *.pkl *.safetensors *.py *.json)"
    ";;ONNX models (*.onnx);;All files (*)"
)
"""Only for the eyes: what a file is, is found out by its content."""
SHARD_INDEX = ".index.json"
"""What the name of the file ends with that lists a model's shards."""
LAYOUT_VERSION = 2
"""Raised when the panels change so much that a kept layout no longer fits."""
LAYERS_SHARE = 0.46
LAYERS_PX = 670
"""Width of the layer tree at first: this share of the window, at most so many pixels."""
LAYERS_MINIMUM_PX = 360
TALL_PX = 860
"""In a lower window the inspector and "What changed" share a place at first."""
INSPECTOR, MEASUREMENT = 2, 4
"""Places among the docks."""


class MainWindow(QMainWindow):
    """Toolbar, inputs, cards, layers at the left, dockable panels at the right, status at the bottom."""

    def __init__(
        self,
        workspace: Workspace,
        measuring: Measuring,
        selection: Selection,
        theme: ThemeManager,
        settings: Settings,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("main_window")
        self.setWindowTitle("Misnomer")
        self.setAcceptDrops(True)
        self.workspace = workspace
        self.measuring = measuring
        self.selection = selection
        self.theme = theme
        self._settings = settings
        self.actions_ = Actions(self, workspace, measuring)
        self._suffixes: dict[str, str] = {}
        self._arranged = False
        self._build()
        self._connect()
        self._restore()
        self._on_theme_changed()
        self.actions_.refresh()

    # -- composition ---------------------------------------------------------------------------------------------

    def _build(self) -> None:
        workspace, theme, settings = self.workspace, self.theme, self._settings
        self.view_menu = QMenu(self)
        self.view_menu.setObjectName("view_menu")
        self.view_menu.setToolTipsVisible(True)
        central = QWidget(self)
        column = QVBoxLayout(central)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        self.toolbar = Toolbar(
            workspace, settings, self.actions_, self.measuring, theme, self.view_menu, central
        )
        column.addWidget(self.toolbar)
        body = QVBoxLayout()
        body.setContentsMargins(16, 10, 16, 10)
        body.setSpacing(2)
        column.addLayout(body, 1)
        top = QVBoxLayout()
        top.setSpacing(10)
        body.addLayout(top)
        actions = self.actions_
        self.input_bar = InputBar(
            workspace,
            theme,
            settings,
            actions.baseline_menu(self),
            (actions.open_file, actions.open_zoo),
            central,
        )
        top.addWidget(self.input_bar)
        self.cards = CardsBar(workspace, self.measuring, theme)
        top.addWidget(self.cards)
        self.banner = Banner(workspace, self.selection, self.actions_, central)
        top.addWidget(self.banner)
        self.saved = SavedStrip(workspace, central)
        self.saved.open_asked.connect(self.open_any)
        top.addWidget(self.saved)
        self.splitter = QSplitter(Qt.Orientation.Horizontal, central)
        self.splitter.setHandleWidth(10)
        self.splitter.setChildrenCollapsible(False)
        body.addWidget(self.splitter, 1)
        self.layers = LayerPanel(workspace, self.selection, theme, settings)
        self.layers.setMinimumWidth(LAYERS_MINIMUM_PX)
        self.addAction(self.layers.rows_menu.idle)
        left = QWidget(self.splitter)
        frame = QVBoxLayout(left)
        # The docks at the right begin with their grip.
        frame.setContentsMargins(0, GRIP_PX, 0, 0)
        frame.addWidget(self.layers)
        self.splitter.addWidget(left)
        self.area = QMainWindow(self.splitter)
        self.area.setWindowFlags(Qt.WindowType.Widget)
        self.area.setObjectName("panel_area")
        self.area.setDockNestingEnabled(True)
        self.area.setTabPosition(Qt.DockWidgetArea.AllDockWidgetAreas, QTabWidget.TabPosition.North)
        self.splitter.addWidget(self.area)
        self.splitter.setStretchFactor(0, 3)
        self.splitter.setStretchFactor(1, 4)
        self.status = StatusBar(workspace, self.measuring, self.actions_, theme, central)
        column.addWidget(self.status)
        self.setCentralWidget(central)
        desk = Desk(workspace, self.measuring, self.selection, theme, settings)
        charts = [(entry, entry.make(desk)) for entry in panels()]
        (_, self.breakdown), (_, self.curve), *others = charts
        self.inspector = InspectorPanel(workspace, self.selection, theme)
        self.changed = WhatChangedPanel(workspace, self.selection, theme)
        self.measurement = MeasurementPanel(workspace, self.measuring, self.selection, theme, self.actions_)
        self.docks = [
            DockPanel(title, name, panel, theme, self.area)
            for title, name, panel in (
                *((entry.title, entry.name, chart) for entry, chart in charts[:2]),
                ("Inspector", "dock_inspector", self.inspector),
                ("What changed", "dock_changed", self.changed),
                ("Measurement", "dock_measurement", self.measurement),
                *((entry.title, entry.name, chart) for entry, chart in others),
            )
        ]
        self._fill_view_menu()

    def _arrange(self) -> None:
        """Panels where they are at first."""
        breakdown, curve, inspector, changed, measurement, *others = self.docks
        wide = min(int(self.width() * LAYERS_SHARE), LAYERS_PX)
        self.splitter.setSizes([wide, self.width() - wide])
        for dock in self.docks:
            self.area.removeDockWidget(dock)
            dock.setFloating(False)
        self.area.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, breakdown)
        self.area.splitDockWidget(breakdown, curve, Qt.Orientation.Vertical)
        self.area.splitDockWidget(curve, inspector, Qt.Orientation.Horizontal)
        tall = self.height() >= TALL_PX
        if not tall:
            self.area.tabifyDockWidget(inspector, changed)
        else:
            self.area.splitDockWidget(curve, changed, Qt.Orientation.Vertical)
        self.area.tabifyDockWidget(inspector, measurement)
        for other in others:
            self.area.tabifyDockWidget(curve, other)
        for dock in self.docks:
            dock.show()
        if others:
            QTimer.singleShot(0, curve.raise_)
        if tall:
            self.area.resizeDocks([breakdown, curve, changed], [38, 36, 26], Qt.Orientation.Vertical)
            QTimer.singleShot(0, inspector.raise_)
        else:
            self.area.resizeDocks([breakdown, curve], [46, 54], Qt.Orientation.Vertical)
            QTimer.singleShot(0, changed.raise_)
        self.area.resizeDocks([curve, inspector], [50, 50], Qt.Orientation.Horizontal)

    def _fill_view_menu(self) -> None:
        for number, dock in enumerate(self.docks, start=1):
            toggle = dock.toggleViewAction()
            toggle.setShortcut(QKeySequence(f"Ctrl+{number}"))
            self.addAction(toggle)
            self.view_menu.addAction(toggle)
        self.view_menu.addAction(self.actions_.reset_layout)
        self.view_menu.addSeparator()
        self.view_menu.addActions(list(self.actions_.themes.values()))
        self.view_menu.addSeparator()
        self.view_menu.addActions(
            [self.actions_.engine_restart, self.actions_.engine_log, self.actions_.engine_python]
        )
        self.view_menu.addSeparator()
        self.view_menu.addActions([self.actions_.settings, self.actions_.shortcuts, self.actions_.quit])

    def _connect(self) -> None:
        workspace, actions, stack = self.workspace, self.actions_, self.workspace.undo_stack
        self.toolbar.source_chosen.connect(self.open_any)
        actions.open_file.triggered.connect(self._on_open_file)
        actions.open_folder.triggered.connect(self._on_open_folder)
        actions.contents.triggered.connect(self._on_contents)
        actions.input_shapes.triggered.connect(self._on_input_shapes)
        actions.settings.triggered.connect(self._on_settings)
        actions.open_zoo.triggered.connect(self._on_open_zoo)
        actions.reload.triggered.connect(self._on_reload)
        actions.undo.triggered.connect(stack.undo)
        actions.redo.triggered.connect(stack.redo)
        actions.cancel.triggered.connect(self._on_cancel)
        actions.retry.triggered.connect(workspace.retry)
        for key, action in actions.exports.items():
            action.triggered.connect(partial(self._on_export, key))
            self._suffixes[key] = key
        actions.import_profile.triggered.connect(self._on_import_profile)
        actions.drop_profile.triggered.connect(self.workspace.drop_imported)
        actions.save_model.triggered.connect(partial(self._on_save_model, False))
        actions.save_fixed.triggered.connect(partial(self._on_save_model, True))
        actions.macs.triggered.connect(partial(workspace.set_count_mode, "macs"))
        actions.flops.triggered.connect(partial(workspace.set_count_mode, "flops"))
        actions.baseline_here.triggered.connect(workspace.set_baseline_here)
        actions.baseline_first.triggered.connect(workspace.set_baseline_first)
        actions.baseline_report.triggered.connect(self._on_baseline_report)
        actions.baseline_none.triggered.connect(workspace.clear_baseline)
        for mode, action in actions.themes.items():
            action.triggered.connect(partial(self._set_theme, mode))
        self._connect_measuring()
        actions.toggle_theme.triggered.connect(self._on_toggle_theme)
        actions.reset_layout.triggered.connect(self._arrange)
        actions.engine_log.triggered.connect(self._on_engine_log)
        actions.engine_restart.triggered.connect(self._on_engine_restart)
        actions.engine_python.triggered.connect(self._on_engine_python)
        actions.shortcuts.triggered.connect(self._on_shortcuts)
        actions.quit.triggered.connect(self.close)
        for signal in (
            workspace.model_changed,
            workspace.analysis_changed,
            workspace.baseline_changed,
            workspace.busy_changed,
            workspace.count_mode_changed,
            stack.indexChanged,
        ):
            signal.connect(self._refresh_actions)
        workspace.model_changed.connect(self._on_model_changed)
        workspace.consent_required.connect(self._on_consent_required)
        workspace.shapes_required.connect(self._on_shapes_required)
        workspace.architecture_required.connect(self._on_architecture_required)
        workspace.open_failed.connect(self._on_open_failed)
        workspace.inspected.connect(self._on_inspected)
        workspace.profile_imported.connect(self.status.notice)
        workspace.failure_changed.connect(self._on_failure_changed)
        workspace.exported.connect(self._on_exported)
        workspace.engine.gave_up.connect(self._on_engine_gave_up)
        workspace.engine.ready.connect(self._on_engine_ready)
        workspace.engine.complained.connect(self.status.notice)
        workspace.engine.crashed.connect(self.status.notice)
        self.banner.real_run_asked.connect(self._ask_real_run)
        self.banner.contents_asked.connect(self._show_contents)
        self.input_bar.assumptions.corrected.connect(self.status.notice)
        self.selection.current_changed.connect(self._on_current_changed)
        self.selection.activated.connect(self._on_activated)
        self.theme.changed.connect(self._on_theme_changed)

    def _connect_measuring(self) -> None:
        actions, measuring = self.actions_, self.measuring
        actions.measure.triggered.connect(measuring.set_enabled)
        actions.measure_again.triggered.connect(self._on_measure_again)
        actions.measure_quiet.triggered.connect(self._on_measure_when_quiet)
        actions.measure_report.triggered.connect(self._on_measure_for_report)
        actions.measure_ops.triggered.connect(self._on_measure_ops)
        measuring.state_changed.connect(self._refresh_actions)

    def _on_measure_again(self) -> None:
        self.measuring.measure_again()

    def _on_measure_when_quiet(self) -> None:
        self.measuring.measure_again(when_quiet=True)

    def _on_measure_for_report(self) -> None:
        self.measuring.measure_again(report=True)

    def _on_measure_ops(self) -> None:
        dock = self.docks[MEASUREMENT]
        dock.show()
        dock.raise_()
        self.measurement.show_details()
        self.measuring.measure_ops()

    def _on_cancel(self) -> None:
        """What the user waits for first; then what is measured."""
        if self.workspace.busy:
            self.workspace.cancel()
        else:
            self.measuring.cancel()

    def _refresh_actions(self) -> None:
        self.actions_.refresh()

    # -- opening -------------------------------------------------------------------------------------------------

    def open_any(self, source: str) -> None:
        """Open a source, a report, or a Python file whose callable is still to be chosen."""
        if sources.split_python(source) == (source, "") and not sources.split_file(source).architecture:
            self.banner.leave_other_file()
            ask_callable(source, self, self.workspace.open_source, partial(self._on_no_callable, source))
        else:
            self.workspace.open_source(source)

    def _on_no_callable(self, source: str, error: ErrorInfo) -> None:
        self.banner.show_problem(f"{Path(source).name} was not opened.", error)

    def _on_open_file(self) -> None:
        dialog = self._file_dialog("Open", FILTERS)
        dialog.fileSelected.connect(self.open_any)
        dialog.open()

    def _on_open_folder(self) -> None:
        dialog = self._file_dialog("Open a model folder", "")
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.fileSelected.connect(self.open_any)
        dialog.open()

    def _on_open_zoo(self) -> None:
        dialog = ZooDialog(self)
        dialog.chosen.connect(self.workspace.open_source)
        self.workspace.zoo_listed.connect(dialog.set_entries)
        dialog.open()
        self.workspace.request_zoo()

    def _on_reload(self) -> None:
        self.workspace.reload()

    def _on_baseline_report(self) -> None:
        dialog = self._file_dialog("Open report as baseline", "Reports (*.json)")
        dialog.fileSelected.connect(self.workspace.open_baseline_report)
        dialog.open()

    def _on_import_profile(self) -> None:
        dialog = self._file_dialog("Import onnxruntime profile", "Profiles (*.json)")
        dialog.fileSelected.connect(self.workspace.import_profile)
        dialog.open()

    def _file_dialog(self, title: str, filters: str) -> QFileDialog:
        dialog = QFileDialog(self, title, self._settings.text("folder", str(Path.home())), filters)
        dialog.setObjectName("file_dialog")
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.fileSelected.connect(self._remember_folder)
        return dialog

    def _remember_folder(self, path: str) -> None:
        self._settings.set("folder", str(Path(path).parent))

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if _dropped(event.mimeData()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        path = _dropped(event.mimeData())
        if path:
            event.acceptProposedAction()
            others = len(event.mimeData().urls()) - 1
            if others and not path.endswith(SHARD_INDEX):
                self.status.notice(f"{Path(path).name} is opened; one at a time.")
            self.open_any(path)

    # -- questions -----------------------------------------------------------------------------------------------

    def _on_consent_required(self, request: ConsentRequest) -> None:
        dialog = ConsentDialog(request.source, request.error, self.theme, self)

        def agree() -> None:
            self.workspace.agree(request.error.digest, watch=dialog.watch.isChecked())

        dialog.accepted.connect(agree)
        self._ask(dialog)

    def _on_architecture_required(self, request: ArchitectureRequest) -> None:
        dialog = ArchitectureDialog(request, self.theme, self)
        dialog.chosen.connect(self.workspace.choose_architecture)
        dialog.zoo_wanted.connect(self.workspace.request_zoo)
        self.workspace.zoo_listed.connect(dialog.set_entries)
        self._ask(dialog)

    def _on_shapes_required(self, error: ErrorInfo) -> None:
        dialog = ShapeDialog(error.message, parent=self)
        dialog.chosen.connect(self.workspace.give_shapes)
        self._ask(dialog)

    def _on_input_shapes(self) -> None:
        workspace = self.workspace
        if workspace.origin is None or workspace.configuration is None:
            return
        name = sources.short(workspace.origin.source)
        question = f"{name} is opened again with these inputs; sizes and edits start anew."
        dialog = ShapeDialog(question, inputs_text(workspace.configuration.inputs), self)
        dialog.chosen.connect(workspace.open_with)
        # They would be the inputs of something else.
        workspace.model_changed.connect(dialog.close)
        dialog.open()

    def _ask(self, dialog: QDialog) -> None:
        """Show a question about what is being opened, until nobody waits for its answer any more."""
        dialog.rejected.connect(self.workspace.decline)
        self.workspace.question_withdrawn.connect(dialog.close)
        dialog.open()

    def _on_failure_changed(self) -> None:
        failure = self.workspace.failure
        if failure is not None and failure.error.kind == "real_run":
            self._ask_real_run(failure.error)

    def _ask_real_run(self, error: ErrorInfo) -> None:
        if self.findChild(RealRunDialog) is None:
            dialog = RealRunDialog(error, self)
            dialog.accepted.connect(self.workspace.allow_real_run)
            dialog.open()

    # -- what a file holds ---------------------------------------------------------------------------------------

    def _on_contents(self) -> None:
        if self.workspace.file:
            self.workspace.inspect(self.workspace.file)

    def _on_inspected(self, contents: Contents) -> None:
        self._show_file(ContentsDialog(contents, self.theme, self))

    def _on_open_failed(self, source: str, error: ErrorInfo) -> None:
        """What cannot be computed can still be read."""
        if error.contents is not None:
            self._show_contents(error)

    def _show_contents(self, error: ErrorInfo) -> None:
        if error.contents is not None:
            self._show_file(ContentsDialog(error.contents, self.theme, self, problem=error))

    def _show_file(self, dialog: ContentsDialog) -> None:
        """Instead of what was shown of the same file before."""
        for old in self.findChildren(ContentsDialog):
            if old is not dialog and old.file == dialog.file:
                old.close()
        dialog.open()

    # -- settings ------------------------------------------------------------------------------------------------

    def _on_settings(self) -> None:
        dialog = SettingsDialog(self.workspace, self._settings, self.theme, self)
        dialog.network_changed.connect(self._on_network_changed)
        dialog.python_chosen.connect(self._set_engine_python)
        dialog.open()

    def _on_network_changed(self, allowed: bool) -> None:
        value = "1" if allowed else ""
        self.measuring.engine.set_variable(NETWORK, value)
        self.workspace.engine.set_variable(NETWORK, value)
        self.workspace.engine.restart()

    # -- exporting -----------------------------------------------------------------------------------------------

    def _on_export(self, format: str) -> None:
        analysis = self.workspace.analysis
        if analysis is None:
            return
        suffix = self._suffixes.get(format, format)
        dialog = self._file_dialog("Export", f"{suffix.upper()} (*.{suffix})")
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setFileMode(QFileDialog.FileMode.AnyFile)
        dialog.setDefaultSuffix(suffix)
        dialog.selectFile(f"{analysis.model.name}.{suffix}")
        dialog.fileSelected.connect(partial(self.workspace.export, format))
        dialog.open()

    def _on_save_model(self, fix_sizes: bool) -> None:
        ask_where(self.workspace, self._settings, self, fix_sizes=fix_sizes)

    def _on_exported(self, path: str) -> None:
        self.status.notice(f"Wrote {path}")

    # -- engine --------------------------------------------------------------------------------------------------

    def _on_engine_gave_up(self, sentence: str) -> None:
        self.banner.show_problem(
            "The engine is not running.",
            ErrorInfo(
                "engine",
                sentence,
                "Restart it, or choose another Python.",
                traceback=self.workspace.engine.stderr_text,
            ),
        )

    def _on_engine_ready(self, event: Ready) -> None:
        self.banner.engine_is_back()
        for entry in event.formats:
            self._suffixes[entry.key] = entry.suffix.removeprefix(".")
            if entry.key not in self.actions_.exports:
                action = self.actions_.add_export(entry)
                action.triggered.connect(partial(self._on_export, entry.key))
                self.toolbar.add_export(action)

    def _on_engine_restart(self) -> None:
        self.workspace.engine.restart()

    def _on_engine_log(self) -> None:
        text = self.workspace.engine.stderr_text or "The engine has written nothing."
        TextDialog("Engine log", "The last lines the engine wrote:", text, self).open()

    def _on_engine_python(self) -> None:
        dialog = self._file_dialog("Python interpreter of the engine", "All files (*)")
        dialog.fileSelected.connect(self._set_engine_python)
        dialog.open()

    def _set_engine_python(self, path: str) -> None:
        """An interpreter for the engine; empty: the one that runs this window."""
        self._settings.python = path
        self.workspace.engine.restart(path or sys.executable)

    # -- looks ---------------------------------------------------------------------------------------------------

    def _on_model_changed(self) -> None:
        model = self.workspace.model
        self.setWindowTitle(f"{model.name} — Misnomer" if model is not None else "Misnomer")
        if model is not None and model.format == "onnx" and model.note:
            # It stays in the title's tooltip.
            self.status.notice(model.note)
        self.selection.clear()

    def _on_current_changed(self, node: str) -> None:
        # Where the inspector shares a place with another panel, a selected layer is what the user wants to see.
        inspector = self.docks[INSPECTOR]
        if not node or not self.area.tabifiedDockWidgets(inspector):
            return
        focus = QApplication.focusWidget()
        if focus is None or not self.measurement.isAncestorOf(focus):
            inspector.raise_()

    def _on_activated(self, node: str) -> None:
        dock = self.docks[INSPECTOR]
        dock.show()
        dock.raise_()
        self.inspector.setFocus()

    def _set_theme(self, mode: str) -> None:
        self._settings.theme = mode
        self.theme.set_mode(mode)

    def _on_toggle_theme(self) -> None:
        self._set_theme("light" if self.theme.current.is_dark else "dark")

    def _on_theme_changed(self) -> None:
        self.actions_.themes[self.theme.mode].setChecked(True)

    def _on_shortcuts(self) -> None:
        rows = [
            (action.shortcut().toString(QKeySequence.SequenceFormat.NativeText), action.text())
            for action in self.actions_.all()
        ]
        text = "\n".join(f"{keys:<16} {words.lstrip('↶↷ ').rstrip('…')}" for keys, words in rows)
        TextDialog("Keyboard shortcuts", "", text, self).open()

    # -- between runs --------------------------------------------------------------------------------------------

    def _restore(self) -> None:
        settings = self._settings
        self.resize(1600, 1000)
        if settings.number("window/layout_version") != LAYOUT_VERSION:
            return
        self.restoreGeometry(settings.blob("window/geometry"))
        # Of damaged settings nothing may stay; the first arrangement then follows when the window is shown.
        self._arranged = self.splitter.restoreState(
            settings.blob("window/splitter")
        ) and self.area.restoreState(settings.blob("window/docks"), LAYOUT_VERSION)

    def save_layout(self) -> None:
        """Remember where everything is for the next run."""
        settings = self._settings
        settings.set("window/layout_version", LAYOUT_VERSION)
        settings.set("window/geometry", self.saveGeometry())
        settings.set("window/splitter", self.splitter.saveState())
        settings.set("window/docks", self.area.saveState(LAYOUT_VERSION))
        settings.save()

    def showEvent(self, event: QShowEvent) -> None:
        # The size of the window decides where the panels go, and it is known only now.
        if not self._arranged:
            self._arranged = True
            self._arrange()
        super().showEvent(event)

    def closeEvent(self, event: QCloseEvent) -> None:
        self.save_layout()
        self.measuring.close()
        self.workspace.close()
        super().closeEvent(event)


def _dropped(data: QMimeData) -> str:
    """The file or folder to open of what is dropped; of a model in shards, its index."""
    paths = [url.toLocalFile() for url in data.urls() if url.isLocalFile()]
    return next((path for path in paths if path.endswith(SHARD_INDEX)), paths[0] if paths else "")
