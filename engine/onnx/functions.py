"""Functions that a model brings along, put in the place of their calls: what executes is what is counted."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import onnx
from onnx import inliner

from engine.contents import shown
from engine.errors import LoadError

log = logging.getLogger(__name__)

STANDARD = ("", "ai.onnx")
NAMED = 5
"""Functions that a sentence names."""
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
        flat = inliner.inline_local_functions(_same_meaning(model))
    except Exception as error:  # the inliner's assertions are of several kinds
        what = shown(str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__, 300)
        return model, (f"Its {_functions(count)} could not be put in the place of their calls: {what}",)
    flat, notes = _of_one_set(model, flat)
    left = len(flat.functions)
    if count > left:
        told = f"Its {_functions(count - left)} {_stand(count - left)} in the place of their calls."
        notes = (told, *notes)
    return flat, notes


def _same_meaning(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` with its own operator set in each function whose operators are the same ones in both sets.

    The inliner leaves functions of another set alone, though few operators change from one set to the next.
    """
    own = _standard_set(model.opset_import)
    others = [
        at
        for at, each in enumerate(model.functions)
        if _standard_set(each.opset_import) not in (own, 0)
        and all(_is_same(node, _standard_set(each.opset_import), own) for node in _walk(each.node))
    ]
    if not own or not others:
        return model
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for at in others:
        for entry in changed.functions[at].opset_import:
            if entry.domain in STANDARD:
                entry.version = own
    return changed


def _of_one_set(model: onnx.ModelProto, flat: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """(``flat`` without the functions that the inliner left as calls, sentences about those that stay).

    Their nodes become those of the model's operator set, which onnx can do where it knows the types of all values.
    """
    if not flat.functions:
        return flat, ()
    typed = onnx.ModelProto()
    typed.CopyFrom(flat)
    own = {each.name: each for each in flat.graph.value_info}
    known = {*own, *(each.name for each in flat.graph.input)}
    for tensor in flat.graph.initializer:
        if tensor.name not in known:
            info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            typed.graph.value_info.append(info)
    try:
        typed = onnx.shape_inference.infer_shapes(typed)
        converted = inliner.inline_local_functions(typed, convert_version=True)
    except Exception as error:  # the converter's assertions are of several kinds
        log.info("Functions of other operator sets cannot be converted: %s", error)
        return flat, _left(model, flat)
    # What was inferred for the conversion holds at one input size only.
    inferred = {each.name for each in typed.graph.value_info} - own.keys()
    kept = [own.get(each.name, each) for each in converted.graph.value_info if each.name not in inferred]
    _replace(converted.graph.value_info, kept)
    _replace(converted.graph.output, list(flat.graph.output))
    return converted, _left(model, converted)


def _left(model: onnx.ModelProto, flat: onnx.ModelProto) -> tuple[str, ...]:
    """What stays a call, and that it is not counted."""
    if not flat.functions:
        return ()
    names = ", ".join(f"{each.domain}.{each.name}" for each in flat.functions[:NAMED])
    more = "" if len(flat.functions) <= NAMED else " and others"
    sets = sorted({_standard_set(each.opset_import) for each in flat.functions})
    which = f"set{'s' if len(sets) > 1 else ''} {', '.join(map(str, sets))}"
    count = len(flat.functions)
    return (
        f"Its {_functions(count)} {shown(names, 300)}{more} {_are(count)} written for operator {which}, cannot be"
        f" converted to the model's, {_standard_set(model.opset_import)}, and {_are(count)} not counted: export the"
        " model again with one operator set.",
    )


def _standard_set(imports: Iterable[onnx.OperatorSetIdProto]) -> int:
    """Version of the standard operators; 0 where none is imported."""
    return next((each.version for each in imports if each.domain in STANDARD), 0)


def _is_same(node: onnx.NodeProto, first: int, second: int) -> bool:
    """Whether the operator of ``node`` has one definition in both versions of the standard set."""
    if node.domain not in STANDARD:
        return True
    try:
        found = [onnx.defs.get_schema(node.op_type, version).since_version for version in (first, second)]
    except onnx.defs.SchemaError:
        return False
    return found[0] == found[1]


def _replace(field: Any, values: list[Any]) -> None:
    """Another content for a repeated field of a protobuf, which cannot be assigned."""
    copies = list(values)
    del field[:]
    field.extend(copies)


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
