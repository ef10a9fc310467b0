"""Changes of a list of edits: taking one back, setting an attribute to what it was. No Qt here."""

from __future__ import annotations

from engine.edits import Edit, SetAttribute, add_edit
from engine.graph import AttributeValue
from engine.results import Analysis


def without(edits: tuple[Edit, ...], gone: Edit) -> tuple[Edit, ...]:
    """``edits`` without those that do what ``gone`` does: remove the same layer or set the same field."""

    def same(edit: Edit) -> bool:
        if isinstance(edit, SetAttribute) and isinstance(gone, SetAttribute):
            return (edit.layer, edit.field) == (gone.layer, gone.field)
        return edit == gone

    return tuple(edit for edit in edits if not same(edit))


def with_attribute(edits: tuple[Edit, ...], edit: SetAttribute, original: AttributeValue) -> tuple[Edit, ...]:
    """``edits`` with ``edit`` on top; setting the ``original`` value takes the edit back instead."""
    if _plain(edit.value) == _plain(original):
        return without(edits, edit)
    return add_edit(edits, edit)


def original_attribute(first: Analysis | None, path: str, field: str) -> AttributeValue:
    """An attribute in the analysis of the unedited model; None when it is not known."""
    if first is None or path not in first.modules.path:
        return None
    return first.modules.attributes[first.modules.path.index(path)].get(field)


def _plain(value: AttributeValue) -> AttributeValue:
    """``(3, 3)`` and ``3`` are the same kernel size."""
    if isinstance(value, tuple) and value and all(part == value[0] for part in value):
        return value[0]
    return value
