"""The top of the window: what is open, opening, undo, export, and the MACs | FLOPs switch."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QFrame, QHBoxLayout, QMenu, QToolButton, QWidget

from engine import sources
from gui.foreign_text import menu_text
from gui.measuring import Measuring
from gui.models.model_words import weights_of
from gui.settings import Settings
from gui.theme import ThemeManager
from gui.tooltips import plain_tooltip
from gui.views.actions import Actions
from gui.views.elided_label import ElidedLabel
from gui.views.play_icon import SIDE, pause_icon, play_icon
from gui.views.threads_button import ThreadsButton
from gui.views.toolbar_button import action_button
from gui.workspace import Workspace

EXAMPLES = (
    ("torchvision:resnet50", "ResNet-50"),
    ("torchvision:mobilenet_v2", "MobileNetV2"),
    ("torchvision:vit_b_16", "ViT-B/16"),
    ("torchvision:efficientnet_b0", "EfficientNet-B0"),
    ("torchvision:swin_t", "Swin-T"),
)

TITLE_PX = 180
"""A model's name is not elided below this width."""
SOURCE_PX = 320
"""Most that a source takes."""


class Toolbar(QFrame):
    """Buttons over the window's actions."""

    source_chosen = Signal(str)
    """A recent file or an example."""

    def __init__(
        self,
        workspace: Workspace,
        settings: Settings,
        actions: Actions,
        measuring: Measuring,
        theme: ThemeManager,
        view_menu: QMenu,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("toolbar")
        self._workspace = workspace
        self._settings = settings
        self._actions = actions
        self._theme = theme
        layout = QHBoxLayout(self)
        layout.setContentsMargins(16, 8, 16, 8)
        layout.setSpacing(8)
        self.title = ElidedLabel("Misnomer", self)
        self.title.setProperty("role", "model")
        self.title.setAccessibleName("Model")
        self.source = ElidedLabel("", self)
        self.source.setProperty("role", "secondary")
        self.source.setMaximumWidth(SOURCE_PX)
        layout.addWidget(self.title)
        layout.addWidget(self.source)
        layout.addSpacing(16)
        self.open_button = self._menu_button("open", "Open ▾", "Open a model or a report", self._open_menu())
        layout.addWidget(self.open_button)
        layout.addWidget(action_button(actions.undo, self))
        layout.addWidget(action_button(actions.redo, self))
        layout.addLayout(self._measure_buttons())
        self.threads = ThreadsButton(measuring, self)
        layout.addWidget(self.threads)
        actions.threads.triggered.connect(self.threads.showMenu)
        self._export_menu = QMenu(self)
        self._export_menu.setToolTipsVisible(True)
        self._export_menu.addActions(list(actions.exports.values()))
        self._after_exports = self._export_menu.addSeparator()
        self._export_menu.addActions([actions.save_model, actions.save_fixed])
        self.export_button = self._menu_button(
            "export",
            "Export ▾",
            "Write what is on the screen as a report, or the model itself",
            self._export_menu,
        )
        layout.addWidget(self.export_button)
        layout.addStretch(1)
        switch = QHBoxLayout()
        switch.setSpacing(0)
        for action, place in ((actions.macs, "first"), (actions.flops, "last")):
            button = action_button(action, self)
            button.setProperty("segment", place)
            switch.addWidget(button)
        layout.addLayout(switch)
        self.view_button = self._menu_button("view", "View ▾", "Panels, colours and shortcuts", view_menu)
        layout.addWidget(self.view_button)
        self.theme_button = action_button(actions.toggle_theme, self)
        self.theme_button.setText("◐")
        layout.addWidget(self.theme_button)
        workspace.model_changed.connect(self._on_model_changed)
        self._on_model_changed()

    def _measure_buttons(self) -> QHBoxLayout:
        """The switch, and beside it what else can be measured."""
        pair = QHBoxLayout()
        pair.setSpacing(0)
        self.measure_button = action_button(self._actions.measure, self)
        self.measure_button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.measure_button.setIconSize(QSize(SIDE, SIDE))
        self.measure_button.setProperty("segment", "first")
        self._actions.measure.toggled.connect(self._show_measure_icon)
        self._theme.changed.connect(self._show_measure_icon)
        self._show_measure_icon()
        menu = self._menu_button("measure_menu", "▾", "What to measure", self._actions.measure_menu(self))
        menu.setAccessibleName("What to measure")
        menu.setProperty("segment", "last")
        pair.addWidget(self.measure_button)
        pair.addWidget(menu)
        return pair

    def _show_measure_icon(self) -> None:
        """The sign of what a click does."""
        theme = self._theme.current
        on = self._actions.measure.isChecked()
        icon = pause_icon(theme.color("accent")) if on else play_icon(theme.color("secondary"))
        self._actions.measure.setIcon(icon)

    def add_export(self, action: QAction) -> None:
        """Another entry of the export menu."""
        self._export_menu.insertAction(self._after_exports, action)

    def _menu_button(self, name: str, words: str, what: str, menu: QMenu) -> QToolButton:
        button = QToolButton(self)
        button.setText(words)
        button.setObjectName(f"button_{name}")
        button.setAccessibleName(words.rstrip(" ▾"))
        button.setToolTip(what)
        button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        button.setMenu(menu)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        return button

    def _open_menu(self) -> QMenu:
        menu = QMenu(self)
        menu.setObjectName("open_menu")
        menu.setToolTipsVisible(True)
        actions = self._actions
        menu.addActions([actions.open_file, actions.open_folder, actions.open_zoo])
        menu.addSeparator()
        menu.addActions([actions.reload, actions.input_shapes, actions.contents])
        menu.addSeparator()
        menu.addActions([actions.import_profile, actions.drop_profile])
        menu.addSeparator()
        self._recent = menu.addMenu("Recent")
        self._recent.setObjectName("recent_menu")
        examples = menu.addMenu("Examples")
        examples.setObjectName("examples_menu")
        for source, name in EXAMPLES:
            action = examples.addAction(name, partial(self.source_chosen.emit, source))
            action.setToolTip(source)
        menu.aboutToShow.connect(self._fill_recent)
        return menu

    def _fill_recent(self) -> None:
        self._recent.clear()
        recent = self._settings.recent
        for source in recent:
            words = menu_text(sources.short(source))
            action = self._recent.addAction(words, partial(self.source_chosen.emit, source))
            action.setToolTip(plain_tooltip(source))
        self._recent.setEnabled(bool(recent))

    def _on_model_changed(self) -> None:
        model = self._workspace.model
        self.title.setText(model.name if model is not None else "Misnomer")
        if model is None:
            self.source.setText("")
            self.source.setToolTip("")
            return
        # The name is read first: a long source gives way before it does.
        self.title.setMinimumWidth(min(self.title.sizeHint().width(), TITLE_PX))
        source = sources.short(model.source)
        if not self._workspace.editable:
            source = f"{source} · opened report"
        elif model.no_edits:
            source = f"{source} · not editable"
        self.source.setText(source)
        weights = f"weights: {weights_of(model)}"
        parts = [model.source, model.class_name, model.task, weights, model.note, model.no_edits]
        if model.sha256:
            parts.append(f"SHA-256 {model.sha256}")
        self.source.setToolTip(plain_tooltip("\n".join(part for part in parts if part)))
