"""Report JSON: every analysis comes back exactly; every bad file is refused with its own sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.configuration import Configuration
from engine.edits import RemoveLayer, SetAttribute
from engine.errors import ExportError
from engine.export.report import LayerRow, ModuleRow, Report, parse_report
from engine.graph import DTYPE_BYTES, Assumption, InputShape
from engine.results import (
    FAMILIES,
    Analysis,
    Coverage,
    Layers,
    ModelInfo,
    Modules,
    NotCounted,
    SharedParameter,
    Totals,
    UntouchedParameter,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
counts = st.integers(0, 2**62)
maybe = st.none() | counts
ratios = st.none() | st.floats(0, 1e12)
shapes = st.lists(st.integers(0, 10**6), max_size=5).map(tuple)
many_shapes = st.lists(shapes, max_size=3).map(tuple)
attributes = st.one_of(
    st.booleans(), st.integers(-(2**40), 2**40), st.floats(allow_nan=False, allow_infinity=False), texts,
    st.lists(st.integers(-9, 9), max_size=3).map(tuple), st.none(),
)  # fmt: skip


def tuples(elements: st.SearchStrategy[Any], size: int) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(elements, min_size=size, max_size=size).map(tuple)


def some(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, max_size=3).map(tuple)


@st.composite
def modules(draw: st.DrawFn) -> Modules:
    paths = ("", *draw(st.lists(texts.filter(bool), max_size=4, unique=True)))
    size = len(paths)
    return Modules(
        path=paths,
        class_name=draw(tuples(texts, size)),
        parent=(-1, *(draw(st.integers(0, row - 1)) for row in range(1, size))),
        calls=draw(tuples(counts, size)),
        params=draw(tuples(counts, size)),
        weight_bytes=draw(tuples(counts, size)),
        untouched_params=draw(tuples(counts, size)),
        removed=draw(tuples(st.booleans(), size)),
        attributes=draw(tuples(st.dictionaries(texts, attributes, max_size=3), size)),
        editable=draw(tuples(some(texts), size)),
    )


@st.composite
def layers(draw: st.DrawFn, paths: tuple[str, ...]) -> Layers:
    ids = tuple(draw(st.lists(texts, max_size=4, unique=True)))
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "path": st.sampled_from(paths), "op": texts, "family": st.sampled_from(FAMILIES), "dtype": texts,
        "formula": texts, "shared": st.booleans(), "macs": maybe, "flops": maybe, "special_ops": maybe,
        "input_shapes": many_shapes, "output_shapes": many_shapes,
    }  # fmt: skip
    columns = {
        field: draw(tuples(kinds.get(field, counts), len(ids)))
        for field in LayerRow.__struct_fields__
        if field != "id"
    }
    return Layers(id=ids, **columns)


@st.composite
def analyses(draw: st.DrawFn) -> Analysis:
    tree = draw(modules())
    inputs = st.builds(InputShape, texts, shapes, st.sampled_from(list(DTYPE_BYTES)))
    value = st.one_of(st.integers(-9, 9), texts, st.lists(st.integers(-9, 9), max_size=3).map(tuple))
    edits = st.builds(RemoveLayer, texts) | st.builds(SetAttribute, texts, texts, value)
    pairs = st.tuples(texts, st.integers(-(2**60), 2**60))
    return Analysis(
        model=draw(st.builds(ModelInfo, texts, texts, texts, st.none() | texts, texts, texts, texts)),
        configuration=draw(st.builds(Configuration, some(inputs), some(edits), some(pairs), st.booleans())),
        mode=draw(st.sampled_from(["meta", "fake", "cpu"])),
        totals=draw(st.builds(Totals, *[counts] * 11, ratios, ratios)),
        coverage=draw(st.builds(Coverage, counts, counts, some(st.builds(NotCounted, texts, counts)))),
        layers=draw(layers(tree.path)),
        modules=tree,
        assumptions=draw(some(st.builds(Assumption, texts, texts, counts, counts, counts))),
        shared=draw(some(st.builds(SharedParameter, some(texts), counts))),
        untouched=draw(some(st.builds(UntouchedParameter, texts, counts))),
        output_shapes=draw(many_shapes),
        environment=draw(st.dictionaries(texts, texts, max_size=3)),
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(analyses())
def test_every_analysis_comes_back_exactly(analysis: Analysis) -> None:
    assert parse_report(Report.from_analysis(analysis).to_json(), "x.json").to_analysis() == analysis


def test_rows_have_the_fields_of_the_columns() -> None:
    assert LayerRow.__struct_fields__ == Layers.__struct_fields__[:18]
    assert ModuleRow.__struct_fields__ == Modules.__struct_fields__


def small() -> dict[str, Any]:
    """A report of one layer in one module, as JSON objects."""
    analysis = Analysis(
        model=ModelInfo("net", "net.py:build", "python"),
        configuration=Configuration((InputShape("x", (1, 4)),)),
        mode="meta",
        totals=Totals(20, 20, 0, 0, 20, 40, 0, 80, 20, 20, 116),
        coverage=Coverage(1, 1),
        layers=Layers(
            ("fc:linear",), ("fc",), ("linear",), ("linear",), (1,), (20,), (False,), (20,), (40,), (0,), (80,),
            (20,), (20,), (116,), (((1, 4),),), (((1, 5),),), ("float32",), ("1 · 5 × 4",),
        ),
        modules=Modules(
            ("", "fc"), ("Net", "Linear"), (-1, 0), (1, 1), (20, 20), (80, 80), (0, 0), (False, False),
            ({}, {}), ((), ()),
        ),
    )  # fmt: skip
    report: dict[str, Any] = json.loads(Report.from_analysis(analysis).to_json())
    return report


def test_the_fixed_fields_have_their_names_and_places() -> None:
    report = small()
    assert list(report)[:10] == [
        "schema", "model", "inputs", "edits", "assumptions", "totals", "coverage", "layers", "latency",
        "environment",
    ]  # fmt: skip
    assert report["schema"] == "misnomer-report/1"
    assert report["latency"] is None
    assert report["inputs"] == [{"name": "x", "shape": [1, 4], "dtype": "float32"}]
    assert report["layers"][0]["input_shapes"] == [[1, 4]]
    assert set(report["coverage"]) == {"calls", "counted_calls", "not_counted"}


def damaged(change: dict[str, Any], *place: str | int) -> bytes:
    """The small report with ``change`` laid over the object at ``place``; the value ... removes a field."""
    report = small()
    target: Any = report
    for step in place:
        target = target[step]
    target.update(change)
    for key in [key for key, value in change.items() if value is ...]:
        del target[key]
    return json.dumps(report).encode()


BAD = [
    (b"", "x.json is no Misnomer report: it is not JSON."),
    (b"\xff\xfe\x00", "x.json is no Misnomer report: it is not JSON."),
    (b"PK\x03\x04", "x.json is no Misnomer report: it is not JSON."),
    (b"[1, 2]", "x.json is no Misnomer report: it is JSON of something else."),
    (b"[" * 200_000, "x.json is no Misnomer report: it is JSON of something else."),
    (b'{"schema": 1}', 'x.json is no Misnomer report: "schema" is not "misnomer-report/1".'),
    (b'{"model": {}}', 'x.json is no Misnomer report: "schema" is not "misnomer-report/1".'),
    (
        b'{"schema": "misnomer-report/7"}',
        "x.json is a report of version 7, and this program reads version 1.",
    ),
    (damaged({"totals": ...}), "x.json is a damaged report: totals: is missing."),
    (damaged({"macs": ...}, "totals"), "x.json is a damaged report: totals.macs: is missing."),
    (
        damaged({"macs": "many"}, "totals"),
        "x.json is a damaged report: totals.macs: expected int, got str.",
    ),
    (
        damaged({"macs": -1}, "totals"),
        "x.json is a damaged report: totals.macs: -1 is not a possible number.",
    ),
    (
        damaged({"flops": 10**30}, "layers", 0),
        f"x.json is a damaged report: layers[0].flops: {10**30} is not a possible number.",
    ),
    (
        damaged({"path": "gone"}, "layers", 0),
        "x.json is a damaged report: layers[0].path: 'gone' is not among the modules.",
    ),
    (
        damaged({"family": "magic"}, "layers", 0),
        "x.json is a damaged report: layers[0].family: 'magic' is no family of operations.",
    ),
    (
        damaged({"parent": 1}, "modules", 1),
        "x.json is a damaged report: modules[1].parent: 1 is not the row of a module above.",
    ),
    (
        damaged({"path": ""}, "modules", 1),
        "x.json is a damaged report: modules[1].path: '' is there twice.",
    ),
]


@pytest.mark.parametrize(("data", "sentence"), BAD, ids=[sentence[10:60] for _, sentence in BAD])
def test_a_bad_file_is_refused_in_its_own_words(data: bytes, sentence: str) -> None:
    with pytest.raises(ExportError) as caught:
        parse_report(data, "x.json")
    assert caught.value.message == sentence


def test_a_report_cut_off_anywhere_is_refused() -> None:
    whole = json.dumps(small()).encode()
    for end in range(0, len(whole) - 1, 7):
        with pytest.raises(ExportError):
            parse_report(whole[:end], "x.json")


def test_fields_of_later_programs_are_passed_over_and_a_byte_order_mark_is_allowed() -> None:
    data = b"\xef\xbb\xbf" + damaged({"energy": {"joules": 1}})
    assert parse_report(data, "x.json").totals.macs == 20
