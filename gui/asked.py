"""What is asked of the open model: its sizes, its edits, what is assumed, and how they are changed and undone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QUndoStack

from engine.configuration import Configuration
from engine.edits import Edit, RemoveLayer, SetAttribute, add_edit
from engine.graph import AttributeValue, Dim, InputSpec
from engine.results import Analysis, ModelInfo
from gui import sizes
from gui.commands import Gestures, SetConfiguration
from gui.edit_changes import original_attribute, with_attribute, without

UNDO_LIMIT = 500
REPORT_REASON = "This is an opened report; open its model to change it."


class Asked(QObject):
    """The half of the workspace that the user changes; who computes the rest overrides the last methods."""

    configuration_changed = Signal()
    sweep_moved = Signal()
    """Another slider is the one that the Curve chart follows."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.undo_stack = QUndoStack(self)
        self.undo_stack.setUndoLimit(UNDO_LIMIT)
        self.model: ModelInfo | None = None
        self.specs: tuple[InputSpec, ...] = ()
        self.editable = False
        self.configuration: Configuration | None = None
        self.linked = False
        """Whether height and width move together."""
        self._first: Analysis | None = None
        """Of the model as it was opened."""
        self._sweep_symbol = ""
        self._real_run = False
        self._gestures = Gestures()

    def _take(
        self,
        model: ModelInfo,
        specs: tuple[InputSpec, ...],
        configuration: Configuration,
        first: Analysis | None,
        editable: bool,
    ) -> None:
        """Another model is open, at ``configuration``; nothing of the one before can be undone."""
        self._gestures.end()
        self.undo_stack.clear()
        self.model, self.specs, self.editable = model, specs, editable
        self.configuration, self._first = configuration, first
        self._real_run = configuration.allow_real_run
        self._sweep_symbol = sizes.first_sweep(specs)
        # A model that is published at an uneven size (optical flow) starts with free sides.
        self.linked = sizes.has_equal_sides(specs, configuration.inputs)

    # -- what is asked -------------------------------------------------------------------------------------------

    @property
    def no_edits(self) -> str:
        """Why layers cannot be changed, as a sentence; empty when they can."""
        if not self.editable:
            return REPORT_REASON
        return self.model.no_edits if self.model is not None else ""

    @property
    def edits(self) -> tuple[Edit, ...]:
        """What is asked to be changed in the model, whether or not it can be computed."""
        return self.configuration.edits if self.configuration is not None else ()

    def symbols(self) -> list[str]:
        """Every adjustable size, in the order of the inputs."""
        return list(sizes.adjustable(self.specs))

    def dim_of(self, symbol: str) -> Dim:
        """Label and range of a symbol, which reaches the size asked for; KeyError when there is none."""
        dim = sizes.adjustable(self.specs)[symbol]
        if self.configuration is None:
            return dim
        return sizes.around(dim, sizes.size_of(self.specs, self.configuration.inputs, symbol))

    def size_of(self, symbol: str) -> int:
        """The size asked for; KeyError for an unknown symbol."""
        if self.configuration is None:
            raise KeyError(symbol)
        return sizes.size_of(self.specs, self.configuration.inputs, symbol)

    def partner_of(self, symbol: str) -> str | None:
        """The symbol that moves with this one: the width with the height while they are linked."""
        return sizes.plane_partner(self.specs, symbol) if self.linked else None

    def configuration_at(self, symbol: str, size: int, like: Configuration | None = None) -> Configuration:
        """``like`` (or the configuration asked for) with ``symbol``, and what is linked to it, at ``size``."""
        like = like or self.configuration
        if like is None:
            raise KeyError(symbol)
        inputs = sizes.with_sizes(self.specs, like.inputs, self._with_partner({symbol: size}))
        return msgspec.structs.replace(like, inputs=inputs)

    @property
    def sweep_symbol(self) -> str:
        """The slider that the Curve chart follows; ``""`` when nothing is adjustable."""
        return self._sweep_symbol

    @sweep_symbol.setter
    def sweep_symbol(self, symbol: str) -> None:
        if symbol != self._sweep_symbol and symbol in self.symbols():
            self._sweep_symbol = symbol
            self.sweep_moved.emit()

    def original_attribute(self, path: str, field: str) -> AttributeValue:
        """An attribute as it was when the model was opened; None when it is not known."""
        return original_attribute(self._first, path, field)

    # -- changing ------------------------------------------------------------------------------------------------

    def begin_gesture(self) -> None:
        """A drag starts: until :meth:`end_gesture`, changes of the same symbols are one step to undo."""
        self._gestures.begin()

    def end_gesture(self) -> None:
        self._gestures.end()

    def set_sizes(self, new: Mapping[str, int]) -> None:
        """Ask for other sizes (symbol → elements), each kept inside its range; a linked size follows."""
        if self.configuration is None or not self.editable or not new:
            return
        first = next(iter(new))
        symbols = self.symbols()
        partner = self.partner_of(first)
        sweep = min((first, partner), key=symbols.index) if partner else first
        inputs = sizes.with_sizes(self.specs, self.configuration.inputs, self._with_partner(dict(new)))
        if inputs == self.configuration.inputs:
            return
        if sweep != self._sweep_symbol:
            self._sweep_symbol = sweep
            self.sweep_moved.emit()
        self._change(
            f"Input {sizes.size_text(inputs)}",
            msgspec.structs.replace(self.configuration, inputs=inputs),
            gesture=self._gestures.of(frozenset(new)),
        )

    def _with_partner(self, new: dict[str, int]) -> dict[str, int]:
        """``new`` with the sizes linked to it, each inside the range that both sides have."""
        for symbol, size in list(new.items()):
            partner = self.partner_of(symbol)
            if partner is not None and partner not in new:
                new[symbol] = new[partner] = sizes.common(self.dim_of(symbol), self.dim_of(partner), size)
        return new

    def set_linked(self, linked: bool) -> None:
        """Let height and width move together (they become equal) or on their own."""
        if linked == self.linked:
            return
        self.linked = linked
        height = sizes.height_symbol(self.specs)
        if linked and height is not None:
            # A step of its own to undo, however soon after a drag.
            self._gestures.end()
            self.set_sizes({height: self.size_of(height)})
            self._gestures.end()
        self.configuration_changed.emit()

    def set_assumption(self, key: str, value: int) -> None:
        """State a size that depends on the data."""
        if self.configuration is not None and self.editable:
            rest = tuple(pair for pair in self.configuration.assumptions if pair[0] != key)
            self._change(
                f"Assume {key} = {value}",
                msgspec.structs.replace(self.configuration, assumptions=tuple(sorted((*rest, (key, value))))),
            )

    def remove_layer(self, path: str) -> None:
        """Replace the module at ``path`` by identity."""
        self._edit(f"Remove {path}", lambda edits: add_edit(edits, RemoveLayer(path)))

    def restore_layer(self, path: str) -> None:
        """Take back the removal of ``path``."""
        self._edit(f"Restore {path}", lambda edits: without(edits, RemoveLayer(path)))

    def set_attribute(self, path: str, field: str, value: int | float | str | tuple[int, ...]) -> None:
        """Set a field of the module at ``path``; its original value takes the edit back."""
        edit, original = SetAttribute(path, field, value), self.original_attribute(path, field)
        self._edit(f"Set {path}.{field}", lambda edits: with_attribute(edits, edit, original))

    def reset_edits(self) -> None:
        """Take back every edit; input sizes stay."""
        self._edit("Reset edits", lambda edits: ())

    def _edit(self, text: str, change: Callable[[tuple[Edit, ...]], tuple[Edit, ...]]) -> None:
        if self.configuration is not None and not self.no_edits:
            edits = change(self.configuration.edits)
            self._change(text, msgspec.structs.replace(self.configuration, edits=edits))

    def _change(self, text: str, after: Configuration, gesture: object = None) -> None:
        if self.configuration is not None and after != self.configuration:
            self.undo_stack.push(
                SetConfiguration(text, self._apply_configuration, self.configuration, after, gesture)
            )

    def _apply_configuration(self, configuration: Configuration) -> None:
        if self._real_run and not configuration.allow_real_run:
            configuration = msgspec.structs.replace(configuration, allow_real_run=True)
        self.configuration = configuration
        self.linked = self.linked and sizes.has_equal_sides(self.specs, configuration.inputs)
        self._update_stale()
        self.configuration_changed.emit()
        self._submit(configuration)

    def allow_real_run(self) -> None:
        """The user accepts the time and memory of a real CPU run of this model."""
        if self.configuration is not None and not self._real_run:
            self._real_run = True
            self._apply_configuration(self.configuration)

    # -- who computes it -----------------------------------------------------------------------------------------

    def _update_stale(self, moved: bool = False) -> None:
        """Whether the numbers on the screen are old may be another answer now; ``moved``: there are new ones."""
        raise NotImplementedError

    def _submit(self, configuration: Configuration) -> None:
        """Compute ``configuration``."""
        raise NotImplementedError
