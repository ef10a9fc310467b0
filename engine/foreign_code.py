"""What the pickles of a file import and call of somebody's code, in sentences: the engine asks with them, the window
marks them."""

from __future__ import annotations

from collections.abc import Sequence

from engine.contents import Call, Contents, shown

NAMED = 12
"""Names that one line lists."""


def foreign_lines(contents: Contents) -> tuple[str, ...]:
    """Unpickling would do this with code that is neither torch's nor for plain data; empty when there is none."""
    calls = [call for call in contents.calls if call.origin == "other"]
    called = {call.function for call in calls}
    imported = [
        f"{shown(each.name)}{times(each.count)}"
        for each in contents.imports
        if each.origin == "other" and each.name not in called
    ]
    lines = [f"Calls {_call(call)}{times(call.count)}." for call in calls[:NAMED]]
    if len(calls) > NAMED:
        lines.append(f"Calls {len(calls) - NAMED:,} more functions of somebody's code.")
    if imported:
        lines.append(f"Imports, of somebody's code: {listed(imported)}.")
    return tuple(lines)


def _call(call: Call) -> str:
    """``os.system('ls')``: the function with the arguments of its first call."""
    example = shown(call.example)
    return (
        f"{shown(call.function)}{example}" if example.startswith("(") else f"{shown(call.function)} {example}"
    )


def times(count: int) -> str:
    """``(3 times)`` with a space before it; nothing for once."""
    return f" ({count:,} times)" if count > 1 else ""


def listed(names: Sequence[str]) -> str:
    """The first ``NAMED`` of the names, and how many more there are."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
