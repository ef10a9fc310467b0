"""Colours, fonts and the application style sheet: light and dark.

The colour values are in ``resources/tokens.json``, for the window and the HTML report alike; no hex value stands
anywhere else.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontDatabase, QFontInfo, QPalette
from PySide6.QtWidgets import QApplication, QStyleFactory

from resources import read

SECONDARY_PX = 11
BODY_PX = 13
CARD_PX = 22
"""Sizes of type: secondary text, body, the value of a card."""


@dataclass(frozen=True)
class Theme:
    """Colour strings by token, each in a form QColor reads (``#RRGGBB`` or ``#AARRGGBB``)."""

    name: str
    window: str
    surface: str
    border: str
    text: str
    secondary: str
    accent: str
    better: str
    worse: str
    caution: str
    ghost: str
    """The baseline behind: text at 18 % (light) or 22 % (dark)."""
    selection: str
    """Ground of a selected row or a checked switch: the accent at 10 to 20 %, over the surface."""
    hover: str
    track: str
    """Groove of sliders and inline bars."""
    grid: str
    """Lines of a chart's grid."""
    disabled: str
    family: dict[str, str]

    @property
    def is_dark(self) -> bool:
        return self.name == "dark"

    def color(self, token: str) -> QColor:
        """A token or an operation family as QColor."""
        return QColor(self.family[token] if token in self.family else getattr(self, token))


def _load(name: str) -> Theme:
    """A theme from ``resources/tokens.json``, which the HTML report reads too."""
    tokens = json.loads(read("tokens.json"))[name]
    return Theme(name=name, **{**tokens, "ghost": _qt_alpha(tokens["ghost"])})


def _qt_alpha(css: str) -> str:
    """``#RRGGBBAA`` of CSS as Qt's ``#AARRGGBB``."""
    return f"#{css[7:]}{css[1:7]}"


LIGHT, DARK = _load("light"), _load("dark")
THEMES = {theme.name: theme for theme in (LIGHT, DARK)}


def ui_font(pixels: int = BODY_PX, *, bold: bool = False) -> QFont:
    """The system's UI font at ``pixels``, with figures of equal width."""
    font = QFont(QApplication.font())
    font.setPixelSize(pixels)
    font.setBold(bold)
    return tabular(font)


def mono_font(pixels: int = SECONDARY_PX + 1) -> QFont:
    """The system's fixed-width font, for formulas and Python."""
    font = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
    font.setPixelSize(pixels)
    return font


def tabular(font: QFont) -> QFont:
    """``font`` with tabular figures, so that numbers in a column (and under a moving slider) do not jump."""
    font.setFeature(QFont.Tag("tnum"), 1)
    return font


def application_font() -> QFont:
    """The system's UI font; on Linux Inter where it is installed and the desktop has chosen nothing better."""
    font = QFontDatabase.systemFont(QFontDatabase.SystemFont.GeneralFont)
    unchosen = QFontInfo(font).family() in ("DejaVu Sans", "Sans Serif", "Bitstream Vera Sans")
    if sys.platform.startswith("linux") and unchosen and "Inter" in QFontDatabase.families():
        font = QFont("Inter")
    font.setPixelSize(BODY_PX)
    return tabular(font)


def palette(theme: Theme) -> QPalette:
    """The tokens as a palette, for everything the style sheet does not reach."""
    result = QPalette()
    roles = QPalette.ColorRole
    for role, token in (
        (roles.Window, theme.window),
        (roles.WindowText, theme.text),
        (roles.Base, theme.surface),
        (roles.AlternateBase, theme.window),
        (roles.Text, theme.text),
        (roles.Button, theme.surface),
        (roles.ButtonText, theme.text),
        (roles.BrightText, theme.worse),
        (roles.PlaceholderText, theme.secondary),
        (roles.ToolTipBase, theme.surface),
        (roles.ToolTipText, theme.text),
        (roles.Highlight, theme.selection),
        (roles.HighlightedText, theme.text),
        (roles.Link, theme.accent),
        (roles.Mid, theme.border),
        (roles.Dark, theme.border),
        (roles.Light, theme.surface),
        (roles.Midlight, theme.hover),
        (roles.Accent, theme.accent),
    ):
        result.setColor(role, QColor(token))
    for role in (roles.WindowText, roles.Text, roles.ButtonText):
        result.setColor(QPalette.ColorGroup.Disabled, role, QColor(theme.disabled))
    return result


class ThemeManager(QObject):
    """Holds the current theme, follows the system's colour scheme, and restyles the application."""

    changed = Signal()

    def __init__(self, app: QApplication, mode: str = "system", parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._app = app
        self._mode = ""
        self._current = LIGHT
        app.setStyle(QStyleFactory.create("Fusion"))
        app.setFont(application_font())
        app.styleHints().colorSchemeChanged.connect(self._on_scheme_changed)
        self.set_mode(mode)

    @property
    def current(self) -> Theme:
        return self._current

    @property
    def mode(self) -> str:
        """``system``, ``light`` or ``dark``."""
        return self._mode

    def set_mode(self, mode: str) -> None:
        """Follow the system or force one; ValueError for another word."""
        if mode not in ("system", "light", "dark"):
            raise ValueError(f"No theme mode {mode!r}.")
        if mode != self._mode:
            self._mode = mode
            self._apply()

    def _on_scheme_changed(self) -> None:
        if self._mode == "system":
            self._apply()

    def _apply(self) -> None:
        dark = self._app.styleHints().colorScheme() == Qt.ColorScheme.Dark
        theme = THEMES.get(self._mode, DARK if dark else LIGHT)
        self._current = theme
        self._app.setPalette(palette(theme))
        self._app.setStyleSheet(style_sheet(theme))
        self.changed.emit()


def style_sheet(theme: Theme) -> str:
    """The one application style sheet, made from tokens."""
    return _STYLE.format(**{key: value for key, value in vars(theme).items() if key != "family"})


_STYLE = """
QMainWindow, QDialog {{ background: {window}; }}
QToolTip {{ background: {surface}; color: {text}; border: 1px solid {border}; padding: 4px 6px; }}

#panel, QFrame[panel="true"] {{ background: {surface}; border: 1px solid {border}; border-radius: 6px; }}
QLabel {{ background: transparent; }}
QLabel[role="title"] {{ font-weight: 600; }}
QLabel[role="model"] {{ font-weight: 600; font-size: 15px; }}
QLabel[role="secondary"] {{ color: {secondary}; font-size: 11px; }}
QLabel[role="caution"] {{ color: {caution}; }}

QPushButton, QToolButton {{
    background: {surface}; color: {text}; border: 1px solid {border}; border-radius: 5px; padding: 4px 10px;
    min-height: 18px;
}}
QPushButton:hover, QToolButton:hover {{ background: {hover}; }}
QPushButton:pressed, QToolButton:pressed {{ background: {track}; }}
QPushButton:checked, QToolButton:checked {{ background: {selection}; color: {accent}; border-color: {accent}; }}
QPushButton:focus, QToolButton:focus {{ border-color: {accent}; }}
QPushButton:disabled, QToolButton:disabled {{ color: {disabled}; }}
QPushButton:default:enabled {{ border-color: {accent}; color: {accent}; }}
QPushButton[flat="true"], QToolButton[flat="true"], QToolButton[autoRaise="true"] {{
    background: transparent; border: 1px solid transparent;
}}
QPushButton[flat="true"]:hover, QToolButton[flat="true"]:hover {{ background: {hover}; }}
QPushButton[flat="true"]:focus, QToolButton[flat="true"]:focus {{ border-color: {accent}; }}
QToolButton[compact="true"] {{ padding: 3px 5px; font-size: 11px; color: {secondary}; }}
QToolButton[compact="true"]:checked {{ background: {selection}; color: {accent}; }}
QToolButton::menu-indicator, QPushButton::menu-indicator {{ image: none; width: 0; }}

QToolButton[segment] {{
    padding: 3px 10px; min-height: 16px; color: {secondary}; background: {surface}; border-radius: 0;
}}
QToolButton[segment="first"] {{ border-top-left-radius: 5px; border-bottom-left-radius: 5px; }}
QToolButton[segment="middle"] {{ border-left: none; }}
QToolButton[segment="last"] {{ border-left: none; border-top-right-radius: 5px; border-bottom-right-radius: 5px; }}
QToolButton[segment]:checked {{ background: {selection}; color: {accent}; border-color: {border}; }}
QToolButton[segment]:focus {{ border-color: {accent}; }}

QLineEdit, QSpinBox, QPlainTextEdit, QTextEdit, QComboBox {{
    background: {surface}; color: {text}; border: 1px solid {border}; border-radius: 5px; padding: 3px 6px;
    selection-background-color: {accent}; selection-color: {surface};
}}
QLineEdit:focus, QSpinBox:focus, QPlainTextEdit:focus, QTextEdit:focus, QComboBox:focus {{
    border-color: {accent};
}}
QLineEdit:disabled, QSpinBox:disabled, QComboBox:disabled {{ color: {disabled}; background: {window}; }}
/* NoButtons would leave one pixel for the text (Qt 6.11 with a styled border): buttons without size instead. */
QSpinBox::up-button, QSpinBox::down-button {{ width: 0; height: 0; border: none; }}
QAbstractSpinBox QLineEdit, QComboBox QLineEdit {{
    border: none; padding: 0; background: transparent; border-radius: 0;
}}
/* Fusion draws the box in a shade of the window, which is not seen on a dark one. */
QCheckBox::indicator {{
    width: 13px; height: 13px; border: 1px solid {secondary}; border-radius: 3px; background: {surface};
}}
QCheckBox::indicator:checked {{ background: {accent}; border-color: {accent}; }}
QCheckBox::indicator:focus {{ border-color: {accent}; }}
QCheckBox::indicator:disabled {{ border-color: {disabled}; }}
QDialogButtonBox {{ dialogbuttonbox-buttons-have-icons: 0; }}
QComboBox::drop-down {{ border: none; width: 20px; }}
QComboBox::down-arrow {{
    image: none; width: 0; height: 0; margin-right: 8px;
    border-left: 4px solid {surface}; border-right: 4px solid {surface}; border-top: 5px solid {secondary};
}}
QComboBox QAbstractItemView {{ background: {surface}; border: 1px solid {border}; }}

QMenu {{ background: {surface}; border: 1px solid {border}; padding: 4px; }}
QMenu::item {{ padding: 5px 24px 5px 12px; border-radius: 4px; }}
QMenu::item:selected {{ background: {selection}; color: {text}; }}
QMenu::item:disabled {{ color: {disabled}; }}
QMenu::separator {{ height: 1px; background: {border}; margin: 4px 8px; }}
QMenu::indicator {{ width: 14px; height: 14px; padding-left: 6px; }}
QMenuBar {{ background: {surface}; }}
QMenuBar::item:selected {{ background: {hover}; }}

QAbstractItemView {{
    background: {surface}; border: none; outline: none; alternate-background-color: {window};
    selection-background-color: {selection}; selection-color: {text};
}}
QHeaderView {{ background: {surface}; }}
QHeaderView::section {{
    background: {surface}; color: {secondary}; border: none; border-bottom: 1px solid {border}; padding: 5px 8px;
    font-size: 11px;
}}
QTableView {{ gridline-color: {border}; }}
QTableView::item {{ padding: 0 5px; }}
QTableView QHeaderView::up-arrow, QTableView QHeaderView::down-arrow {{
    subcontrol-position: top center; width: 9px; height: 9px;
}}

QScrollArea {{ background: transparent; border: none; }}
QScrollBar:vertical {{ background: transparent; width: 10px; margin: 0; }}
QScrollBar:horizontal {{ background: transparent; height: 10px; margin: 0; }}
QScrollBar::handle {{ background: {border}; border-radius: 4px; margin: 1px; }}
QScrollBar::handle:hover {{ background: {disabled}; }}
QScrollBar::handle:vertical {{ min-height: 24px; }}
QScrollBar::handle:horizontal {{ min-width: 24px; }}
QScrollBar::add-line, QScrollBar::sub-line, QScrollBar::add-page, QScrollBar::sub-page {{
    background: transparent; border: none; width: 0; height: 0;
}}
QAbstractScrollArea::corner {{ background: transparent; }}

QSplitter::handle {{ background: transparent; }}
QSplitter::handle:hover {{ background: {track}; border-radius: 3px; }}
QProgressBar {{ background: {track}; border: none; border-radius: 2px; max-height: 4px; min-height: 4px; }}
QProgressBar::chunk {{ background: {accent}; border-radius: 2px; }}
#status_bar {{ background: {surface}; border: none; border-top: 1px solid {border}; }}

#toolbar {{ background: {surface}; border: none; border-bottom: 1px solid {border}; }}
QToolButton[badge="true"] {{
    font-size: 11px; padding: 1px 8px; min-height: 14px; border-radius: 9px; color: {secondary};
}}
QToolButton[badge="plain"] {{ font-size: 11px; padding: 1px 2px; min-height: 14px; border-color: transparent; }}
QToolButton[tone="better"] {{ color: {better}; }}
QToolButton[tone="worse"] {{ color: {worse}; }}
QToolButton[tone="caution"] {{ color: {caution}; }}
QToolButton[tone="accent"] {{ color: {accent}; }}
#banner {{ background: {surface}; border: 1px solid {caution}; border-radius: 6px; }}
QDockWidget {{ titlebar-close-icon: none; titlebar-normal-icon: none; }}
QDockWidget::title {{ background: transparent; padding: 0; }}
QMainWindow::separator {{ background: transparent; width: 10px; height: 3px; }}
QMainWindow::separator:hover {{ background: {track}; }}
QTabBar::tab {{
    background: transparent; color: {secondary}; border: none; border-bottom: 2px solid transparent; padding: 4px 10px;
}}
QTabBar::tab:selected {{ color: {text}; border-bottom-color: {accent}; }}
QTabBar::tab:hover {{ color: {text}; }}
"""
