"""Every action of the window with its words and shortcut; menus, buttons and the keyboard share them."""

from __future__ import annotations

from PySide6.QtGui import QAction, QActionGroup, QKeySequence
from PySide6.QtWidgets import QMenu, QWidget

from engine.protocol import ReportFormat
from gui.asked import REPORT_REASON
from gui.measuring import Measuring
from gui.workspace import Workspace

EXPORTS: tuple[tuple[str, str, str, str], ...] = (
    ("html", "HTML page…", "Ctrl+E", "One self-contained page with charts and a sortable table"),
    ("json", "JSON report…", "Ctrl+Shift+E", "Everything; opens again in this window, also as a baseline"),
    ("csv", "CSV table…", "Ctrl+Alt+E", "One row per layer, exact numbers"),
    ("md", "Markdown summary…", "Ctrl+Alt+M", "For a pull request or an issue"),
)
"""Format, words, shortcut and what it is good for; formats that are not named here come from the engine."""

NODE_EXPORTS = {
    "netron": "Counts and times as a file to drop onto the same model in Netron, which shows them per node",
    "model-explorer": "MACs as node data to add to the same model in Model Explorer, which colours its graph with them",
    "model-explorer-latency": "Measured times as node data for Model Explorer, which colours its graph with them",
}
"""Formats of the engine that name the nodes of an ONNX graph, and what they are good for."""
TIMES_EXPORT = "model-explorer-latency"
NO_NODES = "Only ONNX models have nodes that another tool shows; open one."

OPERATIONS_TIP = "One table row per executed operation, in the panel Measurement"
KERNELS_TIP = "One row per kernel of onnxruntime, with the nodes whose work it did, in the panel Measurement"
REPORT_TIMES = "This is an opened report with the times it came with; open its model to measure it."
THEMES = (("system", "Like the system"), ("light", "Light"), ("dark", "Dark"))


class Actions:
    """Actions belong to ``window``, so that their shortcuts work wherever the focus is."""

    def __init__(self, window: QWidget, workspace: Workspace, measuring: Measuring) -> None:
        self._window = window
        self._workspace = workspace
        self._measuring = measuring
        self._tips: dict[str, str] = {}
        make = self._make
        self.open_file = make(
            "open_file",
            "Open file…",
            "Ctrl+O",
            "Open a model, its weights, a Python file or an exported report",
        )
        self.open_folder = make(
            "open_folder",
            "Open folder…",
            "Ctrl+Shift+O",
            "Open a model folder, as Hugging Face lays them out",
        )
        self.open_zoo = make("open_zoo", "Model zoo…", "Ctrl+L", "Pick a model that needs no file")
        self.reload = make("reload", "Open again", "F5", "Open the same source again")
        self.input_shapes = make(
            "input_shapes",
            "Input shapes…",
            "Ctrl+Alt+I",
            "Open the same model with other inputs: another number of them, of dimensions, another dtype",
        )
        self.contents = make(
            "contents",
            "File contents…",
            "Ctrl+Alt+F",
            "What the open model file holds, read without running it",
        )
        self.import_profile = make(
            "import_profile",
            "Import onnxruntime profile…",
            "Ctrl+Alt+J",
            "Show the times of a profile, recorded anywhere, on the layers of the open ONNX model",
        )
        self.drop_profile = make(
            "drop_profile",
            "Drop imported times",
            "Ctrl+Alt+D",
            "Show the times measured here again",
        )
        self.settings = make("settings", "Settings…", "Ctrl+,", "Code you agreed to run, and what it may do")
        self.undo = make("undo", "↶ Undo", "Ctrl+Z", "Undo")
        self.redo = make("redo", "↷ Redo", "Ctrl+Shift+Z", "Redo")
        # Known signs; the toolbar has no room for their words in a narrow window.
        self.undo.setIconText("↶")
        self.redo.setIconText("↷")
        self.redo.setShortcuts([QKeySequence("Ctrl+Shift+Z"), QKeySequence("Ctrl+Y")])
        self.cancel = make("cancel", "Cancel", "Esc", "Stop what is being computed; the numbers stay")
        self.retry = make("retry", "Analyse again", "Shift+F5", "Ask for the same configuration again")
        self.exports: dict[str, QAction] = {
            key: make(f"export_{key}", words, shortcut, what) for key, words, shortcut, what in EXPORTS
        }
        self.save_model = make(
            "save_model",
            "Edited model (.onnx)…",
            "Ctrl+Shift+S",
            "Write the ONNX model with its edits and weights; sizes that the file leaves open stay so",
        )
        self.save_fixed = make(
            "save_fixed",
            "Edited model at these sizes (.onnx)…",
            "Ctrl+Alt+S",
            "The same with the input sizes on the screen written into the file",
        )
        self.macs = make("show_macs", "MACs", "Ctrl+M", "Multiply–accumulates; 1 MAC = 2 FLOPs", check=True)
        self.flops = make(
            "show_flops",
            "FLOPs",
            "Ctrl+Shift+M",
            "2 × MACs plus biases, norms, activations, pools and elementwise operations",
            check=True,
        )
        self._count_group = self._exclusive(self.macs, self.flops)
        self.baseline_here = make(
            "baseline_here",
            "Set as baseline here",
            "Ctrl+B",
            "Compare with what is on the screen from now on",
        )
        self.baseline_first = make(
            "baseline_first", "As published", "Ctrl+Shift+B", "Compare with the model as it was opened"
        )
        self.baseline_report = make(
            "baseline_report",
            "Open report as baseline…",
            "Ctrl+Alt+B",
            "Compare with an exported JSON report",
        )
        self.baseline_none = make("baseline_none", "No baseline", "Ctrl+Alt+N", "Show no differences")
        self.themes = {
            key: make(f"theme_{key}", words, "", f"Colours: {words.lower()}", check=True)
            for key, words in THEMES
        }
        self._theme_group = self._exclusive(*self.themes.values())
        self.toggle_theme = make("toggle_theme", "Light or dark", "Ctrl+T", "Switch between light and dark")
        self.reset_layout = make(
            "reset_layout", "Reset layout", "Ctrl+Alt+0", "Panels where they were at first"
        )
        self.engine_log = make("engine_log", "Engine log…", "Ctrl+Alt+L", "What the engine wrote lately")
        self.engine_restart = make("engine_restart", "Restart engine", "Ctrl+Alt+R", "A fresh engine process")
        self.engine_python = make(
            "engine_python",
            "Engine's Python…",
            "Ctrl+Alt+P",
            "Run the engine in the interpreter of your own packages",
        )
        self.measure = make("measure", "Measure", "Ctrl+R", "", check=True)
        self.measure_again = make(
            "measure_again", "Measure again", "Ctrl+Shift+R", "Measure the same configuration once more"
        )
        self.measure_quiet = make(
            "measure_quiet",
            "Measure again when quiet",
            "Ctrl+Alt+Q",
            "Wait until nothing else uses the machine, then measure once more",
        )
        self.measure_report = make(
            "measure_report",
            "Measure for a report (10 s)",
            "Ctrl+Alt+T",
            "Ten seconds of samples, for numbers that others will read",
        )
        self.measure_ops = make(
            "measure_ops",
            "Time every operation",
            "Ctrl+Alt+O",
            OPERATIONS_TIP,
        )
        self.threads = make("threads", "Threads…", "Ctrl+Alt+H", "How many threads to measure with")
        self.shortcuts = make("shortcuts", "Keyboard shortcuts…", "F1", "Every shortcut of this window")
        self.quit = make("quit", "Close", "Ctrl+Q", "Close the window and its engine")

    def _make(self, name: str, words: str, shortcut: str, what: str, *, check: bool = False) -> QAction:
        action = QAction(words, self._window)
        action.setObjectName(f"action_{name}")
        action.setCheckable(check)
        if shortcut:
            action.setShortcut(QKeySequence(shortcut))
        action.setToolTip(_with_keys(what, action))
        self._tips[action.objectName()] = action.toolTip()
        self._window.addAction(action)
        return action

    def _exclusive(self, *actions: QAction) -> QActionGroup:
        group = QActionGroup(self._window)
        for action in actions:
            group.addAction(action)
        return group

    def all(self) -> list[QAction]:
        """Every action with a shortcut, in the order above."""
        return [action for action in self._window.actions() if not action.shortcut().isEmpty()]

    def baseline_menu(self, parent: QWidget) -> QMenu:
        menu = QMenu("Baseline", parent)
        menu.setObjectName("baseline_menu")
        menu.setToolTipsVisible(True)
        menu.addActions([self.baseline_here, self.baseline_first, self.baseline_report])
        menu.addSeparator()
        menu.addAction(self.baseline_none)
        return menu

    def measure_menu(self, parent: QWidget) -> QMenu:
        menu = QMenu("Measure", parent)
        menu.setObjectName("measure_menu")
        menu.setToolTipsVisible(True)
        menu.addActions([self.measure_again, self.measure_quiet, self.measure_report])
        menu.addSeparator()
        menu.addAction(self.measure_ops)
        return menu

    def add_export(self, entry: ReportFormat) -> QAction:
        """An action for a format that the engine offers beyond the usual ones."""
        what = NODE_EXPORTS.get(entry.key, f"Write a *{entry.suffix} file")
        action = self._make(f"export_{entry.key}", f"{entry.label}…", "", what)
        self.exports[entry.key] = action
        self.refresh()
        return action

    def refresh(self) -> None:
        """Enable what can work now; a tooltip says why something cannot."""
        workspace = self._workspace
        has_result = workspace.analysis is not None
        for action in (*self.exports.values(), self.baseline_here):
            action.setEnabled(has_result)
        for key in NODE_EXPORTS.keys() & self.exports.keys():
            self._able(self.exports[key], self._no_node_export(key))
        self.baseline_first.setText(workspace.first_label.capitalize())
        self.baseline_first.setEnabled(has_result)
        self.baseline_report.setEnabled(has_result)
        self.baseline_none.setEnabled(workspace.baseline is not None)
        why = (
            "" if workspace.editable else "Open a model first." if workspace.model is None else REPORT_REASON
        )
        for action in (self.reload, self.retry, self.input_shapes):
            self._able(action, why)
        asked = workspace.configuration
        edited = "Edited model" if asked is not None and asked.edits else "Copy of the model"
        self.save_model.setText(f"{edited} (.onnx)…")
        self.save_fixed.setText(f"{edited} at these sizes (.onnx)…")
        for action in (self.save_model, self.save_fixed):
            self._able(action, workspace.no_saving)
        nothing = "Open a model file first."
        if workspace.model is not None:
            nothing = "There is no model file: code builds this model."
        self._able(self.import_profile, workspace.no_profile)
        self._able(self.drop_profile, "" if workspace.imported is not None else "No profile is imported.")
        self._able(self.contents, "" if workspace.file else nothing)
        stack = workspace.undo_stack
        for action, can, text, verb in (
            (self.undo, stack.canUndo(), stack.undoText(), "Undo"),
            (self.redo, stack.canRedo(), stack.redoText(), "Redo"),
        ):
            action.setEnabled(can)
            shortcut = action.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
            action.setToolTip(
                f"{verb} {text} ({shortcut})" if can else f"Nothing to {verb.lower()} ({shortcut})"
            )
        self._refresh_measuring()
        (self.macs if workspace.count_mode == "macs" else self.flops).setChecked(True)

    def _no_node_export(self, key: str) -> str:
        """Why numbers cannot be written per node, as a sentence; empty where they can."""
        analysis = self._workspace.analysis
        if analysis is None:
            return "Open an ONNX model first."
        if not any(analysis.modules.node[1:]):
            return NO_NODES
        times = analysis.layer_times
        if key != TIMES_EXPORT or (times is not None and times.configuration == analysis.configuration):
            return ""
        if not self._workspace.editable:
            return "This report holds no times of its layers; open its model to measure them."
        if not self._measuring.enabled:
            keys = self.measure.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
            return f"The layers are not timed: press Measure ({keys}) first."
        return "The layers are not timed yet: wait until they are, or import a profile."

    def _refresh_measuring(self) -> None:
        workspace, measuring = self._workspace, self._measuring
        self.cancel.setEnabled(workspace.busy or bool(measuring.words))
        is_report = workspace.model is not None and not workspace.editable
        keys = self.measure.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
        self.measure.setChecked(measuring.enabled and not is_report)
        what = "Pause measuring" if measuring.enabled else "Measure how long a forward pass takes"
        self.measure.setToolTip(REPORT_TIMES if is_report else f"{what} ({keys})")
        self.measure.setEnabled(not is_report)
        self.measure_ops.setText("Time every kernel" if measuring.is_onnx else "Time every operation")
        what = KERNELS_TIP if measuring.is_onnx else OPERATIONS_TIP
        self._tips[self.measure_ops.objectName()] = _with_keys(what, self.measure_ops)
        why = REPORT_TIMES if is_report else ""
        self._able(self.threads, why)
        if not why and workspace.analysis is None:
            why = "Open a model first."
        elif not why and not measuring.enabled:
            why = f"Measuring is paused: press Measure first ({keys})."
        for action in (self.measure_again, self.measure_quiet, self.measure_report, self.measure_ops):
            self._able(action, why)

    def _able(self, action: QAction, why_not: str) -> None:
        """Enable ``action``, or let its tooltip say why it cannot work."""
        action.setEnabled(not why_not)
        action.setToolTip(why_not or self._tips[action.objectName()])


def _with_keys(what: str, action: QAction) -> str:
    """``what`` with the shortcut of ``action`` behind it."""
    keys = action.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
    return f"{what} ({keys})" if keys else what
