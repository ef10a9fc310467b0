"""Edits of an ONNX graph: attributes set, layers taken out and what stood around them joined."""

from __future__ import annotations

import difflib
import itertools
import logging
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from threading import Event
from typing import Any, NamedTuple

import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper, shape_inference

from engine.edits import Edit, SetAttribute, Value
from engine.errors import CancelledError, InputError
from engine.graph import AttributeValue, Shape
from engine.onnx import edit_lines
from engine.onnx.attributes import WEIGHT_INPUT, checked, resolve, shown_attributes, spatial_rank
from engine.onnx.document import Document
from engine.onnx.dtypes import dtype_name
from engine.onnx.graph import VALUE_FIELDS, Graph, Node, attribute_value
from engine.onnx.joins import Join, Joins, below, is_within
from engine.onnx.names import parents
from engine.onnx.run_model import forget_shapes, graphs, tensors

log = logging.getLogger(__name__)

MOST_WEIGHTS = 2**50
"""Elements of a weight that an edit makes anew."""
UNPACKED = ("DequantizeLinear", "Cast", "Identity")
"""What may stand between a convolution and its stored weight without changing the weight's shape."""

Outputs = tuple[str, ...]
"""What tells a node within its graph: names may be missing, and no value is computed twice."""


@dataclass
class EditedDocument(Document):
    """A document after edits. Nodes keep the names and paths that they had in ``original``."""

    original: Document | None = None
    removed: tuple[str, ...] = ()
    """Paths that edits took out, nodes or whole scopes."""
    remade: dict[str, int] = field(default_factory=dict)
    """Weights that an edit made anew, which have no values, with the fan-in of their random ones."""
    lines: tuple[tuple[str, ...], ...] = ()
    """Per edit, Python that does the same to the file."""


class _Place(NamedTuple):
    node: Node
    proto: NodeProto
    graph: GraphProto
    """The graph or body that has it."""


def opsets(document: Document) -> dict[str, int]:
    """Version of each operator domain that the file uses; the standard one is ``""``."""
    return {
        "" if each.domain == "ai.onnx" else each.domain: each.version for each in document.model.opset_import
    }


def edited(document: Document, edits: Iterable[Edit], stop: Event | None = None) -> EditedDocument:
    """``document`` with ``edits``, in their order; it stays as it is itself.

    Raises InputError for a layer, field or value that does not fit, and for a layer that cannot be taken out;
    CancelledError when ``stop`` is set, between two passes over the graph.
    """
    editor = _Editor(document, stop or Event())
    for edit in edits:
        if isinstance(edit, SetAttribute):
            editor.set(edit)
        else:
            editor.remove(edit.layer)
    return editor.document()


def dtypes(document: Document) -> dict[str, str]:
    """Element types of values by name, as far as onnx infers them."""
    try:
        model = shape_inference.infer_shapes(document.model)
    except Exception as error:  # an analysis says it in its own words; here it only says less
        log.info("No element types of %s: %s", document.path.name, error)
        return {}
    found = {name: stored.dtype for name, stored in document.stored.items()}
    for graph in graphs(model.graph):
        for value in (*graph.value_info, *graph.input, *graph.output):
            kind = value.type.tensor_type.elem_type
            if kind:
                found[value.name] = dtype_name(kind)
    return found


class _Editor:
    """A copy of a document's graph, being edited."""

    def __init__(self, document: Document, stop: Event) -> None:
        self._original = document
        self._stop = stop
        self._opsets = opsets(document)
        self._model = onnx.ModelProto()
        self._model.CopyFrom(document.model)
        self._places = {place.node.path: place for place in _places(document.graph, self._model.graph)}
        self._tensors = dict(tensors(self._model))
        self._joins: Joins | None = None
        self._instead: dict[str, str] = {}
        """Values that went, and the ones that went on in their place."""
        self._kept: dict[str, str] = {}
        """Outputs of the graph whose layer was removed, by the value: an Identity computes them, at that path."""
        self._removed: list[str] = []
        self._remade: dict[str, int] = {}
        self._lines: list[tuple[str, ...]] = []
        self._has_bodies = any(node.subgraphs for node in document.graph.nodes)

    def document(self) -> EditedDocument:
        """What the edits made of the document."""
        forget_shapes(self._model)
        self._check()
        plain = self._original.with_model(self._model)
        self._check()
        _adopt(plain.graph, self._original.graph, self._kept)
        self._check()
        values = {each.name: getattr(plain, each.name) for each in fields(Document)}
        values["locations"] = {
            name: location for name, location in plain.locations.items() if name not in self._remade
        }
        return EditedDocument(
            **values,
            original=self._original,
            removed=tuple(self._removed),
            remade=dict(self._remade),
            lines=tuple(self._lines),
        )

    def _check(self) -> None:
        if self._stop.is_set():
            raise CancelledError()

    # -- attributes ----------------------------------------------------------------------------------------------

    def set(self, edit: SetAttribute) -> None:
        self._check()
        place = self._place(edit.layer)
        name, value = resolve(place.node, edit.field, edit.value, self._opsets)
        value = checked(place.node, name, value, self._opsets, self._rank(place.node))
        weight: TensorProto | None = None
        if place.node.op_type in WEIGHT_INPUT and name in ("kernel_shape", "group"):
            if value != self._shown(place, name):
                weight = self._remake_weight(place, name, value)
        # Explicit padding and a rule for it exclude each other.
        other = {"pads": "auto_pad", "auto_pad": "pads" if value != "NOTSET" else ""}.get(name, "")
        _write(place.proto, name, value, without=other)
        lines = edit_lines.set_attribute(
            place.node.outputs, edit.layer, name, value, other, bodies=self._has_bodies
        )
        if weight is not None:
            lines += self._weight_lines(self._weight_name(place.node), weight)
        self._lines.append(tuple(lines))

    def _weight_lines(self, name: str, weight: TensorProto) -> list[str]:
        stored = (each for graph in graphs(self._model.graph) for each in graph.initializer)
        return edit_lines.new_weight(
            name,
            weight,
            self._remade[name],
            bodies=self._has_bodies,
            node=all(each.name != name for each in stored),
            input=any(each.name == name for each in self._model.graph.input),
        )

    def _shown(self, place: _Place, name: str) -> AttributeValue:
        """The value that an attribute of a node has now, its default included."""
        found = shown_attributes(place.node, self._opsets, self._original.stored).get(name)
        now = next((each for each in place.proto.attribute if each.name == name), None)
        return found if now is None else attribute_value(now)

    def _rank(self, node: Node) -> int:
        """Spatial dimensions, which of a quantised weight only the stored tensor tells; 0 where nothing does."""
        found = spatial_rank(node, self._original.stored)
        if not found and node.op_type in WEIGHT_INPUT:
            weight = self._tensors.get(self._weight_name(node))
            found = max(len(weight.dims) - 2, 0) if weight is not None else 0
        return found

    def _require_there(self, path: str) -> None:
        """Raises InputError for what an earlier edit took out."""
        within = next((each for each in self._removed if is_within(path, each)), None)
        if within is not None:
            what = "is removed already" if path == within else f"is part of {within}, which is removed"
            raise InputError(f"{path} {what}.", hint="Take that edit back first.", layer=path)

    def _place(self, path: str) -> _Place:
        self._require_there(path)
        found = self._places.get(path)
        if found is not None:
            return found
        below = [each for each in self._places if each.startswith(f"{path}.")] if path else []
        if below:
            raise InputError(
                f"{path} is a scope of {len(below)} nodes; attributes belong to one.",
                hint=f"One of them: {below[0]}.",
                layer=path,
            )
        raise _no_layer(path, self._places)

    def _remake_weight(self, place: _Place, field: str, value: Value) -> TensorProto:
        """Another kernel or other groups: the weight has another shape, and other values."""
        node = place.node
        tensor = self._weight(place, field)
        dims = tuple(tensor.dims)
        if isinstance(value, tuple):
            shape = (*dims[:2], *value)
        else:
            assert isinstance(value, int)
            before = next((each.i for each in place.proto.attribute if each.name == "group"), 1)
            shape = _regrouped(node, dims, before, value)
        if math.prod(shape) > MOST_WEIGHTS:
            raise InputError(
                f"{node.path} with {field} {edit_lines.text(value)} has too many weights.", layer=node.path
            )
        for each in VALUE_FIELDS:
            tensor.ClearField(each)
        del tensor.external_data[:]
        tensor.data_location = TensorProto.DEFAULT
        tensor.dims[:] = shape
        name = self._weight_name(node)
        for given in self._model.graph.input:
            if given.name == name:  # before IR version 4 every initializer is an input too
                _set_dims(given, shape)
        self._remade[name] = math.prod(shape[1:])
        return tensor

    def _weight(self, place: _Place, field: str) -> TensorProto:
        node = place.node
        name = self._weight_name(node)
        tensor = self._tensors.get(name)
        readers = sum(name in each.inputs for each in self._original.graph.walk())
        if tensor is None or readers != 1:
            raise InputError(
                f"{node.path}.{field} cannot be set: its weight is {'shared' if tensor is not None else 'computed'}.",
                hint="Its strides, pads and dilations can.",
                layer=node.path,
            )
        return tensor

    def _weight_name(self, node: Node) -> str:
        """The stored tensor behind the weight of ``node``, which may be quantised."""
        name = node.inputs[WEIGHT_INPUT[node.op_type]]
        makers = {each.outputs[0]: each for each in self._original.graph.walk() if each.op_type in UNPACKED}
        while name in makers and name not in self._tensors:
            name = makers.pop(name).inputs[0]
        return name

    # -- removing ------------------------------------------------------------------------------------------------

    def remove(self, path: str) -> None:
        if not path:
            raise InputError("The model itself cannot be removed.", hint="Remove layers inside it.")
        self._require_there(path)
        self._check()
        if self._joins is None:
            known = dtypes(self._original)
            self._check()
            self._joins = Joins(self._original.graph, known)
            self._check()
        joins = self._joins.of(path)
        if not joins:
            raise _no_layer(path, self._places)
        gone: list[Outputs] = []
        instead: dict[str, str] = {}
        kept: dict[str, str] = {}
        for join in joins:
            before = self._current(join.before)
            if join.after and self._joins.is_result(join.after):
                kept[join.after] = before
                self._kept.setdefault(join.after, path)
            elif join.after:
                instead[join.after] = before
            self._check()
            self._take_out(join, kept)
            gone += [
                node.outputs
                for node in join.nodes
                if join.after not in kept or join.after not in node.outputs
            ]
        self._instead.update(instead)
        _rename_reads(self._model.graph, instead)
        self._check()
        dead, unused = _drop_unused(self._model.graph, self._joins.read)
        lost = set(dead)
        for top in [place.node for place in self._places.values() if place.node.outputs in lost]:
            for node in (top, *below(top)):
                self._places.pop(node.path, None)
        self._removed.append(path)
        self._lines.append(
            tuple(edit_lines.remove(path, [*gone, *dead], instead, kept, unused, bodies=self._has_bodies))
        )

    def _current(self, name: str) -> str:
        """What goes on in the place of a value that an earlier edit took out."""
        while name in self._instead:
            name = self._instead[name]
        return name

    def _take_out(self, join: Join, kept: dict[str, str]) -> None:
        """Delete the nodes of ``join``; an Identity computes what leaves the graph, which keeps its name."""
        place = next((self._places[node.path] for node in join.nodes if node.path in self._places), None)
        if place is None:
            return  # all of it went with what an earlier edit took out
        gone = {node.outputs for node in join.nodes}
        graph = place.graph
        taken = []
        for index, node in enumerate(graph.node):
            if tuple(node.output) not in gone:
                continue
            if join.after in kept and join.after in node.output:
                node.CopyFrom(helper.make_node("Identity", [kept[join.after]], [join.after], name=node.name))
            else:
                taken.append(index)
        _delete(graph.node, taken)


def _places(graph: Graph, proto: GraphProto) -> Iterator[_Place]:
    """Every node that plain graph and message have both, bodies included."""
    waiting = [(graph, proto)]
    while waiting:
        plain, message = waiting.pop()
        found = {tuple(node.output): node for node in message.node}
        for node in plain.nodes:
            same = found.get(node.outputs)
            if same is None:
                continue
            yield _Place(node, same, message)
            for attribute in same.attribute if node.subgraphs else ():
                if attribute.name in node.subgraphs:
                    waiting.append((node.subgraphs[attribute.name], attribute.g))


def _adopt(graph: Graph, original: Graph, kept: dict[str, str]) -> None:
    """Give the nodes of an edited graph the names and paths that they had; ``kept`` says those of new ones."""
    waiting = [(graph, original)]
    had = {node.path for node in original.walk()}
    paths: set[str] = set()
    while waiting:
        new, old = waiting.pop()
        before = {node.outputs: node for node in old.nodes}
        for node in new.nodes:
            same = before.get(node.outputs)
            path = next((kept[name] for name in node.outputs if name in kept), "")
            if path and path not in paths:
                node.path = path
            elif same is not None:
                node.name, node.path = same.name, same.path
                waiting += [
                    (body, same.subgraphs[name])
                    for name, body in node.subgraphs.items()
                    if name in same.subgraphs
                ]
            else:
                free = (f"{path}_{number}" for number in itertools.count(2))
                node.path = next(each for each in free if each not in had and each not in paths)
            paths.add(node.path)


def _no_layer(path: str, places: Collection[str]) -> InputError:
    known = {around for each in places for around in (*parents(each), each)}
    close = difflib.get_close_matches(path, sorted(known), 3)
    return InputError(
        f"The model has no layer {path!r}.",
        hint=f"Did you mean {', '.join(close)}?" if close else "Layer names are shown in the tree.",
        layer=path,
    )


def _regrouped(node: Node, dims: Shape, before: int, groups: int) -> Shape:
    """The shape of a convolution's weight with other ``groups``: outputs first, or inputs where it is transposed."""
    first, second = dims[0], dims[1] * before
    if first % groups or second % groups:
        raise InputError(
            f"{node.path}.group cannot be {groups}: {first} and {second} channels are no multiples of it.",
            layer=node.path,
        )
    return (first, second // groups, *dims[2:])


_TYPES = {
    int: AttributeProto.INT,
    float: AttributeProto.FLOAT,
    str: AttributeProto.STRING,
    tuple: AttributeProto.INTS,
}


def _write(node: NodeProto, name: str, value: Value, without: str) -> None:
    """Set one attribute of ``node`` and drop another."""
    for index in reversed(range(len(node.attribute))):
        if node.attribute[index].name in (name, without):
            del node.attribute[index]
    node.attribute.append(helper.make_attribute(name, value, attr_type=_TYPES[type(value)]))


def _set_dims(value: onnx.ValueInfoProto, shape: Shape) -> None:
    dims = value.type.tensor_type.shape.dim
    del dims[:]
    for size in shape:
        dims.add().dim_value = size


def _rename_reads(graph: GraphProto, instead: dict[str, str]) -> None:
    for each in graphs(graph):
        for node in each.node:
            for position, name in enumerate(node.input):
                if name in instead:
                    node.input[position] = instead[name]


def _drop_unused(graph: GraphProto, read_before: Collection[str]) -> tuple[list[Outputs], list[str]]:
    """Drop nodes and initializers of which nothing is read any more, though it was in ``read_before``.

    Returns outputs of the nodes and names of the initializers.
    """
    every = list(graphs(graph))
    nodes = [(each, index, node) for each in every for index, node in enumerate(each.node)]
    makers = {name: found for found in nodes for name in found[2].output if name}
    read = Counter(name for _, _, node in nodes for name in node.input)
    read.update(value.name for each in every for value in each.output)
    gone: dict[int, list[int]] = {}
    dead: list[Outputs] = []
    seen: set[tuple[int, int]] = set()
    waiting = nodes
    while waiting:
        holder, index, node = waiting.pop()
        outputs = tuple(node.output)
        if (id(holder), index) in seen or any(read[name] for name in outputs):
            continue
        if not any(name in read_before for name in outputs):
            continue
        seen.add((id(holder), index))
        gone.setdefault(id(holder), []).append(index)
        dead.append(outputs)
        # What its bodies hold goes with it, and reads nothing any more.
        seen.update((id(body), place) for body in _bodies(node) for place in range(len(body.node)))
        for name in (name for inner in _with_bodies(node) for name in inner):
            read[name] -= 1
            if not read[name] and name in makers:
                waiting.append(makers[name])
    for each in every:
        _delete(each.node, sorted(gone.get(id(each), ())))
    unused = []
    for each in every:
        stored = [
            index
            for index, tensor in enumerate(each.initializer)
            if _is_unused(tensor.name, read, read_before)
        ]
        names = {each.initializer[index].name for index in stored}
        _delete(each.initializer, stored)
        _delete(each.input, [index for index, value in enumerate(each.input) if value.name in names])
        unused += sorted(names)
    return dead, unused


def _is_unused(name: str, read: Counter[str], read_before: Collection[str]) -> bool:
    return name in read_before and not read[name]


def _delete(field: Any, indices: Sequence[int]) -> None:
    """Delete the elements at ``indices``, which are in order, of a repeated field: a run of them at once."""
    end = len(indices)
    while end:
        start = end - 1
        while start and indices[start - 1] == indices[start] - 1:
            start -= 1
        del field[indices[start] : indices[end - 1] + 1]
        end = start


def _with_bodies(node: NodeProto) -> Iterator[Iterable[str]]:
    """Names that ``node`` reads, and those that are read in its bodies."""
    yield node.input
    for body in _bodies(node):
        yield from (inner.input for inner in body.node)
        yield (value.name for value in body.output)


def _bodies(node: NodeProto) -> Iterator[GraphProto]:
    """The bodies of ``node`` and theirs; the same objects as long as somebody has them."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield from graphs(attribute.g)
