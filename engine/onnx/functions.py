"""Functions that a model brings along, put in the place of their calls: what executes is what is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import onnx
from onnx import inliner

from engine.contents import shown
from engine.errors import LoadError

MAX_NODES = 500_000
"""Nodes of a graph whose functions are inlined; ten functions that call the next ten times are ten thousand million."""

_Name = tuple[str, str, str]


def inlined(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """(``model`` without calls of its own functions, sentences about that).

    Raises LoadError for functions that call themselves, or that would become too many nodes.
    """
    if not model.functions:
        return model, ()
    total = _size(model)
    if total > MAX_NODES:
        raise LoadError(
            f"Its functions, put in the place of their calls, would be more than {MAX_NODES:,} nodes.",
            hint="No usual model does that: export it again without functions.",
        )
    count = len(model.functions)
    try:
        flat = inliner.inline_local_functions(model)
    except Exception as error:  # the inliner's assertions are of several kinds
        what = shown(str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__, 300)
        return model, (f"Its {_functions(count)} could not be put in the place of their calls: {what}",)
    left = len(flat.functions)
    notes = []
    if count > left:
        notes.append(f"Its {_functions(count - left)} {_stand(count - left)} in the place of their calls.")
    if left:
        notes.append(
            f"{_functions(left).capitalize()} of other operator set versions {_are(left)} left as calls."
        )
    return flat, tuple(notes)


def _functions(count: int) -> str:
    return "1 function" if count == 1 else f"{count:,} functions"


def _stand(count: int) -> str:
    return "stands" if count == 1 else "stand"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _size(model: onnx.ModelProto) -> int:
    """Nodes after inlining, at most a little above MAX_NODES. Raises LoadError for functions that call themselves."""
    calls = {_key(each): _calls(each.node) for each in model.functions}
    sizes: dict[_Name, int] = {}
    for root in calls:
        _measure(root, calls, sizes)
    return _sum(_calls(model.graph.node), sizes)


def _measure(root: _Name, calls: dict[_Name, Counter[_Name]], sizes: dict[_Name, int]) -> None:
    """Fill ``sizes`` for ``root`` and what it calls; without recursion, as calls may be nested deeply."""
    stack, open_ = [root], set[_Name]()
    while stack:
        name = stack[-1]
        if name in sizes:
            stack.pop()
            continue
        waiting = [each for each in calls[name] if each in calls and each not in sizes]
        if not waiting:
            sizes[name] = _sum(calls[name], sizes)
            open_.discard(name)
            stack.pop()
            continue
        open_.add(name)
        looped = next((each for each in waiting if each in open_), None)
        if looped is not None:
            raise LoadError(
                f"Its function {shown(looped[1])} calls itself, so it never ends.",
                hint="It is no model: export it again.",
            )
        stack += waiting


def _sum(calls: Counter[_Name], sizes: dict[_Name, int]) -> int:
    return min(MAX_NODES + 1, sum(times * sizes.get(name, 1) for name, times in calls.items()))


def _calls(nodes: Iterable[onnx.NodeProto]) -> Counter[_Name]:
    return Counter((node.domain, node.op_type, node.overload) for node in _walk(nodes))


def _walk(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _walk(attribute.g.node)
            for graph in attribute.graphs:
                yield from _walk(graph.node)


def _key(function: onnx.FunctionProto) -> _Name:
    return function.domain, function.name, function.overload
