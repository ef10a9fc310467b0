"""Report JSON: every analysis comes back exactly; every bad file is refused with its own sentence."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.configuration import Configuration
from engine.edits import RemoveLayer, SetAttribute
from engine.errors import ExportError
from engine.export.report import LayerRow, ModuleRow, Report, parse_report
from engine.graph import DTYPE_BYTES, Assumption, InputShape
from engine.measurement import (
    Circumstances,
    Comparison,
    Flag,
    Latency,
    LayerTimes,
    Measurement,
    MemoryReadings,
)
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
    with_latency,
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
def modules(draw: st.DrawFn, weighed: bool) -> Modules:
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
        zeros=draw(tuples(counts, size)) if weighed else (),
        unweighed_params=draw(tuples(counts, size)) if weighed else (),
        attributes=draw(tuples(st.dictionaries(texts, attributes, max_size=3), size)),
        editable=draw(tuples(some(texts), size)),
    )


@st.composite
def layers(draw: st.DrawFn, paths: tuple[str, ...], weighed: bool) -> Layers:
    ids = tuple(draw(st.lists(texts, max_size=4, unique=True)))
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "path": st.sampled_from(paths), "op": texts, "family": st.sampled_from(FAMILIES), "dtype": texts,
        "formula": texts, "shared": st.booleans(), "macs": maybe, "flops": maybe, "special_ops": maybe,
        "input_shapes": many_shapes, "output_shapes": many_shapes, "zeros": maybe, "nonzero_macs": maybe,
        "nonzero_formula": texts,
    }  # fmt: skip
    left_out = (
        "id",
        "latency_s",
        "cpu_s",
        *(() if weighed else ("zeros", "nonzero_macs", "nonzero_formula")),
    )
    columns = {
        field: draw(tuples(kinds.get(field, counts), len(ids)))
        for field in Layers.__struct_fields__
        if field not in left_out
    }
    return Layers(id=ids, **columns)


@st.composite
def analyses(draw: st.DrawFn) -> Analysis:
    weighed = draw(st.booleans())
    tree = draw(modules(weighed))
    inputs = st.builds(InputShape, texts, shapes, st.sampled_from(list(DTYPE_BYTES)))
    value = st.one_of(st.integers(-9, 9), texts, st.lists(st.integers(-9, 9), max_size=3).map(tuple))
    edits = st.builds(RemoveLayer, texts) | st.builds(SetAttribute, texts, texts, value)
    pairs = st.tuples(texts, st.integers(-(2**60), 2**60))
    return Analysis(
        model=draw(st.builds(ModelInfo, texts, texts, texts, st.none() | texts, texts, texts, texts)),
        configuration=draw(st.builds(Configuration, some(inputs), some(edits), some(pairs), st.booleans())),
        mode=draw(st.sampled_from(["meta", "fake", "cpu"])),
        totals=msgspec.structs.replace(
            draw(st.builds(Totals, *[counts] * 11, ratios, ratios)),
            zeros=draw(counts) if weighed else None,
            nonzero_macs=draw(counts) if weighed else None,
            unweighed_params=draw(counts) if weighed else 0,
        ),
        coverage=draw(st.builds(Coverage, counts, counts, some(st.builds(NotCounted, texts, counts)))),
        layers=draw(layers(tree.path, weighed)),
        modules=tree,
        assumptions=draw(some(st.builds(Assumption, texts, texts, counts, counts, counts))),
        shared=draw(some(st.builds(SharedParameter, some(texts), counts))),
        untouched=draw(some(st.builds(UntouchedParameter, texts, counts))),
        output_shapes=draw(many_shapes),
        environment=draw(st.dictionaries(texts, texts, max_size=3)),
    )


seconds = st.floats(0, 1e6)
positive = st.floats(1e-9, 1e6)
flags = some(st.builds(Flag, texts, texts, st.booleans()))
stops = st.sampled_from(["precise", "plateau", "time", "single", "samples"])


@st.composite
def latencies(draw: st.DrawFn, analysis: Analysis) -> Latency:
    """What may have been measured of ``analysis``."""
    configuration, count = analysis.configuration, draw(st.integers(1, 8))
    threads, size = draw(st.integers(1, 64)), len(analysis.layers)
    measurement = Measurement(
        configuration=configuration,
        tier=draw(st.sampled_from(["live", "settled", "report"])),
        threads=threads,
        samples_s=draw(tuples(positive, count)),
        stop_reason=draw(stops),
        batch=draw(st.none() | st.integers(1, 64)),
        cpu_s=draw(tuples(seconds, count)),
        delay_s=draw(st.just(()) | tuples(seconds, count)),
        forwards_per_sample=draw(st.integers(1, 100)),
        first_s=draw(seconds),
        warmups=draw(st.integers(0, 9)),
        reference_s=draw(some(seconds)),
        reference_best_s=draw(st.none() | seconds),
        flags=draw(flags),
        circumstances=draw(
            st.builds(
                Circumstances,
                st.dictionaries(texts, texts, max_size=2),
                st.just({}),
                some(seconds),
                texts,
                texts,
            )
        ),
    )
    near_zero = st.none() | st.floats(-1e-6, 1e6)
    times = LayerTimes(
        configuration=configuration, threads=threads, row_id=analysis.layers.id,
        latency_s=draw(tuples(near_zero, size)), cpu_s=draw(tuples(near_zero, size)), note=draw(tuples(texts, size)),
        unattributed_s=draw(st.floats(-1e-6, 1)), hook_s=draw(seconds), hook_calls=draw(st.integers(0, 999)),
        instrumented_s=draw(positive), end_to_end_s=draw(positive), repeats=draw(st.integers(1, 9)), flags=draw(flags),
    )  # fmt: skip
    memory = MemoryReadings(configuration, draw(counts), draw(maybe), draw(maybe), draw(some(texts)))
    pairs = draw(st.integers(1, 8))
    comparison = Comparison(
        baseline=Configuration(configuration.inputs, (RemoveLayer("pool"),)),
        current=configuration,
        threads=threads,
        ratios=draw(tuples(positive, pairs)),
        baseline_s=draw(tuples(positive, pairs)),
        current_s=draw(tuples(positive, pairs)),
        stop_reason=draw(stops),
        flags=draw(flags),
    )
    parts: list[Any] = [draw(st.sampled_from([part, None])) for part in (times, memory, comparison)]
    return Latency(measurement, *parts)


@st.composite
def measured(draw: st.DrawFn) -> Analysis:
    analysis = draw(analyses())
    return with_latency(analysis, draw(latencies(analysis)))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(measured())
def test_what_was_measured_comes_back_exactly(analysis: Analysis) -> None:
    assert parse_report(Report.from_analysis(analysis).to_json(), "x.json").to_analysis() == analysis


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(analyses())
def test_every_analysis_comes_back_exactly(analysis: Analysis) -> None:
    assert parse_report(Report.from_analysis(analysis).to_json(), "x.json").to_analysis() == analysis


def test_rows_have_the_fields_of_the_columns() -> None:
    assert LayerRow.__struct_fields__ == (*Layers.__struct_fields__, "note", "sparsity")
    assert ModuleRow.__struct_fields__ == Modules.__struct_fields__


def small_analysis() -> Analysis:
    """One layer in one module."""
    return Analysis(
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


def small() -> dict[str, Any]:
    """The report of the small analysis, as JSON objects."""
    report: dict[str, Any] = json.loads(Report.from_analysis(small_analysis()).to_json())
    return report


SAMPLES = (0.040, 0.038, 0.039, 0.038, 0.037, 0.036, 0.090, 0.038)


def small_latency(analysis: Analysis) -> Latency:
    """Eight samples with one outlier, half of them disturbed; the layer's time; a comparison with itself."""
    configuration = analysis.configuration
    return Latency(
        Measurement(
            configuration, "settled", 2, SAMPLES, "precise", batch=1, cpu_s=(0.07,) * 8,
            delay_s=(0.0, 0.01) * 4, first_s=0.2, warmups=3, flags=(Flag("preempted", "4 of 8 samples"),),
            circumstances=Circumstances(
                {"CPU": "Some CPU"}, {"Threads": "2"}, (1.0,), "2026-01-01T00:00:00+00:00", "abc"
            ),
        ),
        LayerTimes(
            configuration, 2, ("fc:linear",), (0.030,), (0.050,), ("a note",), 0.004, 1e-5, 2, 0.0395, 0.038, 7
        ),
        MemoryReadings(configuration, 20, 52, 4096),
        Comparison(
            configuration, configuration, 2, (1.0, 1.01, 0.99, 1.0, 1.0, 1.0, 1.0, 1.0), SAMPLES, SAMPLES, "precise"
        ),
    )  # fmt: skip


def small_measured() -> dict[str, Any]:
    analysis = with_latency(small_analysis(), small_latency(small_analysis()))
    report: dict[str, Any] = json.loads(Report.from_analysis(analysis).to_json())
    return report


def test_the_latency_has_its_fields_with_what_follows_from_the_samples() -> None:
    report = small_measured()
    latency = report["latency"]
    assert latency["samples_s"] == list(SAMPLES)
    assert (latency["n"], latency["median_s"], latency["min_s"]) == (8, 0.038, 0.036)
    assert (latency["ci_low_s"], latency["ci_high_s"]) == (0.037, 0.040)
    assert (latency["first_s"], latency["batch"], latency["threads"]) == (0.2, 1, 2)
    assert (latency["device"], latency["dtype"], latency["tier"]) == ("cpu", "float32", "settled")
    assert latency["stop_reason"] == "precise"
    assert latency["outliers"] == {"mild": 0, "severe": 1}
    assert latency["percentiles"] == {}
    assert latency["undisturbed"] == {"n": 4, "median_s": (0.039 + 0.040) / 2}
    assert latency["throughput"] == 1 / 0.038
    assert latency["flags"] == [{"key": "preempted", "detail": "4 of 8 samples", "severe": False}]
    assert latency["circumstances"]["fingerprint"] == "abc"
    assert latency["layers"]["coverage"] == 0.034 / 0.038
    assert latency["memory"]["workspace_bytes"] == 32
    assert latency["comparison"]["verdict"] == "same"
    row = report["layers"][0]
    assert (row["latency_s"], row["cpu_s"], row["note"]) == (0.030, 0.050, "a note")
    assert report["totals"]["latency_s"] == 0.038
    assert report["derived"]["macs_per_s"] == 20 / 0.038


def test_derived_numbers_may_be_missing() -> None:
    report = small_measured()
    whole = parse_report(json.dumps(report).encode(), "x.json").to_analysis()
    for key in ("median_s", "ci_low_s", "n", "outliers", "percentiles", "undisturbed", "throughput"):
        del report["latency"][key]
    assert parse_report(json.dumps(report).encode(), "x.json").to_analysis() == whole


def test_times_of_another_configuration_are_not_exported() -> None:
    analysis = small_analysis()
    times = small_latency(analysis).layers
    other = msgspec.structs.replace(
        analysis, configuration=msgspec.structs.replace(analysis.configuration, edits=(RemoveLayer("fc"),))
    )
    stale = with_latency(other, None, times)
    assert stale.stale_times
    report = Report.from_analysis(stale)
    assert report.latency is None
    assert report.layers[0].latency_s is None
    read = parse_report(report.to_json(), "x.json").to_analysis()
    assert (read.latency, read.layer_times, read.totals.latency_s) == (None, None, None)


def test_a_report_from_before_measuring_and_weighing_opens() -> None:
    old = small()
    for row in old["layers"]:
        for key in ("latency_s", "cpu_s", "note", "zeros", "nonzero_macs", "nonzero_formula", "sparsity"):
            del row[key]
    for row in old["modules"]:
        for key in ("zeros", "unweighed_params"):
            del row[key]
    for key in ("latency_s", "cpu_s", "zeros", "nonzero_macs", "unweighed_params"):
        del old["totals"][key]
    assert parse_report(json.dumps(old).encode(), "x.json").to_analysis() == small_analysis()


@pytest.mark.parametrize(
    ("place", "change", "sentence"),
    [
        ((), {"samples_s": []}, "latency.samples_s: there is no sample."),
        ((), {"samples_s": [-1.0]}, "latency.samples_s: -1.0 is not a possible number."),
        ((), {"samples_s": [1.0, 0]}, "latency.samples_s: 0.0 is not a possible number."),
        (("comparison",), {"ratios": [0]}, "latency.comparison.ratios: 0.0 is not a possible number."),
        ((), {"samples_s": ...}, "latency.samples_s: is missing."),
        ((), {"tier": "soon"}, "latency.tier: invalid enum value 'soon'."),
        ((), {"threads": 0}, "latency: threads, batch and forwards_per_sample are at least 1."),
        (("layers",), {"end_to_end_s": 0}, "latency.layers.end_to_end_s: 0.0 is not a possible number."),
        (("comparison",), {"ratios": []}, "latency.comparison.ratios: there is no ratio."),
    ],
)
def test_a_damaged_measurement_is_refused(
    place: tuple[str, ...], change: dict[str, Any], sentence: str
) -> None:
    report = small_measured()
    target = report["latency"]
    for step in place:
        target = target[step]
    target.update(change)
    for key in [key for key, value in change.items() if value is ...]:
        del target[key]
    with pytest.raises(ExportError) as caught:
        parse_report(json.dumps(report).encode(), "x.json")
    assert caught.value.message == f"x.json is a damaged report: {sentence}"


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
