"""Which of a file's tensors are meant, and that weights alone need an architecture; nothing here imports torch."""

from __future__ import annotations

from pathlib import Path

from engine.contents import Contents, Group, shown
from engine.contents_words import describe, main_group
from engine.errors import ArchitectureRequiredError, LoadError, UnsupportedModelError
from engine.matching import candidates
from engine.sources import FileSource

LISTED = 8
"""Groups that a sentence names."""


def chosen_weights(contents: Contents, file: FileSource) -> Group:
    """The weights that ``file`` means, which names their architecture.

    Raises UnsupportedModelError for a file that holds no model's weights, LoadError for a part it does not have,
    ArchitectureRequiredError with candidates where none is named.
    """
    group = _choose(contents, file.part)
    if not file.architecture:
        raise ArchitectureRequiredError(
            " ".join((describe(contents), *contents.notes)),
            hint=f"Say which architecture its weights belong to: {file}@torchvision:NAME, @timm:NAME or "
            "@net.py:callable.",
            file=contents.file,
            contents=contents,
            candidates=candidates(contents, file.part and group.path),
        )
    return group


def which_weights(contents: Contents, group: Group) -> str:
    """Which of several collections was taken, as a sentence; empty where there is one."""
    others = [each for each in contents.groups if each is not group]
    if not others:
        return ""
    taken = f"under {shown(group.path, 60)}" if group.path else "of the outermost dict"
    return f"The weights are those {taken}; the file also holds {_paths(others)}."


def _choose(contents: Contents, part: str) -> Group:
    """The group called ``part``, or else the model. Raises LoadError, UnsupportedModelError when there is none."""
    if part:
        found = [group for group in contents.groups if group.path == part] or [
            group for group in contents.groups if group.role == part
        ]
        if len(found) == 1:
            return _checked(contents, found[0])
        known = _paths([group for group in contents.groups if group.path])
        raise LoadError(
            f"{shown(Path(contents.file).name)} has no collection of tensors called {shown(part, 60)}.",
            hint=f"It has: {known}." if known else "It has one alone: leave out the # and what follows it.",
            file=contents.file,
        )
    return _checked(contents, main_group(contents))


def _checked(contents: Contents, group: Group | None) -> Group:
    """Raises UnsupportedModelError unless ``group`` may be the weights of a model."""
    if contents.kind != "tensor" and group is not None and group.role not in ("optimizer", "constants"):
        return group
    what = "the state of an optimizer" if group is not None and group.role == "optimizer" else "no model"
    raise UnsupportedModelError(
        " ".join((describe(contents), *contents.notes)),
        hint=f"That is {what}: open the model's weights.",
        file=contents.file,
        contents=contents,
    )


def _paths(groups: list[Group]) -> str:
    named = [shown(group.path, 60) or "tensors beside them" for group in groups[:LISTED]]
    more = f" and {len(groups) - LISTED:,} more" if len(groups) > LISTED else ""
    return ", ".join(named) + more
