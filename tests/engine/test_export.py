"""CSV, Markdown and HTML: the same numbers everywhere, names from strangers do no harm, nothing is loaded."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import unicodedata
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from engine.configuration import Configuration
from engine.errors import ExportError
from engine.export import FORMATS, Report, read_report, render, write_report
from engine.export.formats import export_format
from engine.export.icicle import icicle
from engine.export.latency_words import latency_section
from engine.export.summary import module_totals, pair_rows, what_changed
from engine.export.svg import bars, ticks
from engine.graph import InputShape
from engine.measurement import Flag
from engine.metrics import METRIC, METRICS
from engine.numbers import THIN, duration
from engine.results import Analysis, Coverage, Layers, ModelInfo, Modules, NotCounted, Totals, with_latency
from tests.engine.measuring import measured
from tests.gui.analyses import small_net

HOSTILE = "=cmd|' /C calc'!A0"
SCRIPT = "</title><script>alert(1)</script><img src=x onerror=alert(2)>"


def analysis_of(
    names: tuple[str, ...], macs: tuple[int | None, ...], formula: str = "N · C × k²"
) -> Analysis:
    """One linear layer per name, directly under the model."""
    size = len(names)
    known = [each for each in macs if each is not None]
    return Analysis(
        model=ModelInfo(f"net{SCRIPT}", "net.py:build", "python", note="A note | with `signs` <b>"),
        configuration=Configuration((InputShape("x", (1, 4)),)),
        mode="meta",
        totals=Totals(
            20 * size, 20 * size, 0, 0, sum(known), 2 * sum(known), 0, 80 * size, 20 * size, 20, 116 * size
        ),
        coverage=Coverage(size, len(known), (NotCounted("topk", size - len(known)),) if None in macs else ()),
        layers=Layers(
            id=tuple(f"{name}:linear" for name in names),
            path=names,
            op=("linear",) * size,
            family=("linear",) * size,
            calls=(1,) * size,
            params=(20,) * size,
            shared=(False,) * size,
            macs=macs,
            flops=tuple(None if each is None else 2 * each for each in macs),
            special_ops=(0,) * size,
            weight_bytes=(80,) * size,
            activation_bytes=(20,) * size,
            peak_activation_bytes=(20,) * size,
            bytes_moved=(116,) * size,
            input_shapes=(((1, 4),),) * size,
            output_shapes=(((1, 5),),) * size,
            dtype=("float32",) * size,
            formula=(formula,) * size,
        ),
        modules=Modules(
            path=("", *names),
            class_name=("Net", *("Linear",) * size),
            parent=(-1, *(0,) * size),
            calls=(1,) * (size + 1),
            params=(20 * size, *(20,) * size),
            weight_bytes=(80 * size, *(80,) * size),
            untouched_params=(0,) * (size + 1),
            removed=(False,) * (size + 1),
            attributes=({},) * (size + 1),
            editable=((),) * (size + 1),
        ),
        environment={"python": "3.11"},
    )


NOW = analysis_of(("a", HOSTILE, SCRIPT, "late"), (2**53 + 1, 300, None, 5))
BEFORE = analysis_of(("a", "gone", HOSTILE, SCRIPT), (2**52, 100, 100, 100))


LAYER_SECONDS = {"a:linear": 0.020, f"{HOSTILE}:linear": 0.010, "late:linear": 0.005}
MEASURED = measured(NOW, 0.040, LAYER_SECONDS)
MEASURED_BEFORE = measured(BEFORE, 0.020, {"a:linear": 0.015})


def table(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))


def test_csv_has_a_row_per_layer_with_plain_integers_and_empty_for_not_counted() -> None:
    rows = table(render(NOW, "csv"))
    assert [row["macs"] for row in rows] == ["9007199254740993", "300", "", "5"]
    assert [row["input_shapes"] for row in rows] == ["1x4"] * 4
    assert {metric.key for metric in METRICS if not (metric.measured or metric.weighed)} <= rows[0].keys()


def test_csv_cells_are_no_formulas() -> None:
    for row in table(render(NOW, "csv", BEFORE)):
        for cell in row.values():
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert table(render(NOW, "csv"))[1]["path"] == f"'{HOSTILE}"


def test_csv_is_ascii_unless_a_name_is_not_and_then_says_its_encoding() -> None:
    assert render(NOW, "csv").isascii()
    data = render(analysis_of(("größe",), (1,)), "csv")
    assert data.startswith(b"\xef\xbb\xbf")
    assert table(data)[0]["path"] == "größe"


def test_csv_with_a_baseline_sums_to_both_totals() -> None:
    rows = table(render(NOW, "csv", BEFORE))
    assert [row["change"] for row in rows] == ["changed", "removed", "changed", "changed", "added"]
    assert sum(int(row["macs"] or 0) for row in rows) == NOW.totals.macs
    assert sum(int(row["baseline_macs"] or 0) for row in rows) == BEFORE.totals.macs


def test_markdown_tables_keep_their_columns_whatever_the_names() -> None:
    text = render(NOW, "md", BEFORE).decode()
    blocks = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert len(blocks) == 3
    for block in blocks:
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(cells) == 1
    assert "<script" not in re.sub(r"`[^`]*`", "", text).replace("\\<", "")
    assert f"{NOW.totals.macs:,}" in text
    assert "3 of 4 executed operations are counted; not counted: 1 × topk." in text


def test_no_text_acts_on_a_terminal() -> None:
    text = render(analysis_of(("\x1b]0;title\x07", "\x9b31m"), (1, 2)), "md").decode()
    assert "�]0;title�" in text
    assert not [sign for sign in text if unicodedata.category(sign) in ("Cc", "Cf") and sign != "\n"]


class Page(HTMLParser):
    """The tags of a page, its visible text, and the text of its style and script."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, str] = {"style": "", "script": ""}
        self.open: list[str] = []
        self.text = ""
        self.feed(data.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in self.inside:
            self.inside[self.open[-1]] += data
        else:
            self.text += data


def test_html_loads_nothing_and_runs_only_its_own_script() -> None:
    page = Page(render(NOW, "html", BEFORE))
    names = [tag for tag, _ in page.tags]
    assert names.count("script") == 1
    assert not {"link", "img", "iframe", "object", "embed", "base", "form", "a", "video", "audio"} & set(
        names
    )
    for _, attributes in page.tags:
        assert not any(name.startswith("on") or name in ("src", "href", "style") for name in attributes)
    assert "url(" not in page.inside["style"]
    assert "@import" not in page.inside["style"]
    assert not re.search(r"fetch|XMLHttpRequest|import\s*\(|WebSocket|innerHTML", page.inside["script"])
    policy = next(
        a["content"] or "" for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none';")
    for text in page.inside.values():
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy


def test_html_shows_names_from_strangers_as_text() -> None:
    page = Page(render(NOW, "html", BEFORE))
    assert SCRIPT in page.text
    assert HOSTILE in page.text


def test_html_has_every_layer_and_the_exact_totals() -> None:
    page = Page(render(NOW, "html", BEFORE))
    rows = [
        attributes.get("data-v") for tag, attributes in page.tags if tag == "td" and "data-v" in attributes
    ]
    assert str(2**53 + 1) in rows
    assert f"{NOW.totals.macs:,}" in page.text
    assert "not counted: 1 × topk" in page.text
    assert what_changed(NOW, BEFORE) in page.text


def test_html_of_a_model_without_any_row_is_still_a_page() -> None:
    empty = analysis_of((), ())
    assert "No layer of this model has a counted cost." in Page(render(empty, "html", empty)).text


def test_html_is_the_same_twice() -> None:
    assert render(NOW, "html", BEFORE) == render(NOW, "html", BEFORE)


def test_bars_of_ten_thousand_layers_are_merged_to_what_can_be_seen() -> None:
    many = analysis_of(tuple(f"l{row}" for row in range(10_000)), tuple(range(1, 10_001)))
    picture = bars(many, None, "macs")
    assert picture.count('class="f-linear"') <= 1_012
    assert "l9999" in picture


def test_icicle_names_the_parts_that_have_room() -> None:
    picture = icicle(analysis_of(("wide", "narrow"), (10_000, 1)), "macs")
    assert ">wide</text>" in picture
    assert ">narrow</text>" not in picture


@pytest.mark.parametrize("base", [1000, 1024])
@pytest.mark.parametrize("top", [1, 3, 7, 999, 1001, 1023, 1025, 462_422_016, 25_690_112, 3 * 10**15])
def test_ticks_are_few_rise_evenly_and_reach_the_top(top: int, base: int) -> None:
    found = ticks(top, base)
    assert 2 <= len(found) <= 6
    assert found[0] == 0
    assert found[-1] >= top
    assert len({round(b - a, 6) for a, b in pairwise(found)}) == 1


def test_layers_of_both_are_paired_in_network_order() -> None:
    pairs = pair_rows(NOW.layers, BEFORE.layers)
    assert pairs == [(0, 0), (None, 1), (1, 2), (2, 3), (3, None)]


def test_module_totals_are_the_totals_of_the_model() -> None:
    for key in ("params", "macs", "flops", "weight_bytes", "activation_bytes", "peak_activation_bytes"):
        assert module_totals(NOW, key)[0] == getattr(NOW.totals, key)
    assert module_totals(NOW, "macs")[3] is None
    assert module_totals(NOW, "reuse")[1] == (2**53 + 1) / 20


def test_what_changed_says_what_is_the_same_and_where_the_rest_sits() -> None:
    before = analysis_of(("stem", "body", "head"), (10, 100, 1))
    after = analysis_of(("stem", "body", "head"), (10, 400, 1))
    assert what_changed(after, before).replace("\u202f", " ") == (
        "Same parameters, 3.70 × the MACs, the same peak memory. "
        "body costs 4.00 × what it did. stem and head cost what they did."
    )
    assert what_changed(after, after) == "Same parameters, the same MACs, the same peak memory."


OF_NODES = ("netron", "model-explorer", "model-explorer-latency")
"""Formats that only ONNX models have; tests/engine/test_export_nodes.py."""
REPORTS = [key for key in FORMATS if key not in OF_NODES]


@pytest.mark.parametrize("key", REPORTS)
def test_every_format_is_written_whole(key: str, tmp_path: Path) -> None:
    path = tmp_path / f"out{FORMATS[key].suffix}"
    path.write_text("old")
    write_report(path, key, NOW, BEFORE)
    assert path.read_bytes() == render(NOW, key, BEFORE)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_written_report_opens_again(tmp_path: Path) -> None:
    Report.from_analysis(NOW).save(tmp_path / "net.json")
    assert read_report(tmp_path / "net.json") == NOW
    assert json.loads((tmp_path / "net.json").read_bytes())["totals"]["macs"] == NOW.totals.macs


def test_what_cannot_be_written_or_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"out.json cannot be written: no such file or directory\."):
        write_report(tmp_path / "missing" / "out.json", "json", NOW)
    with pytest.raises(ExportError, match=r"cannot be read: no such file or directory\."):
        read_report(tmp_path / "missing.json")
    with pytest.raises(ExportError, match=r"cannot be read: is a directory\."):
        read_report(tmp_path)
    with pytest.raises(ExportError, match="no report format 'pdf'"):
        render(NOW, "pdf")
    with pytest.raises(
        ExportError, match=r"net.txt names no report format\. Known|net.txt names no report format"
    ):
        Report.from_analysis(NOW).save(tmp_path / "net.txt")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.json"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ExportError, match=r"cannot be written: no space left on device\."):
        write_report(path, "json", NOW)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.json"]


def test_a_link_keeps_pointing_at_the_file_that_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    write_report(tmp_path / "link.json", "json", NOW)
    assert (tmp_path / "link.json").is_symlink()
    assert read_report(tmp_path / "real.json") == NOW


def test_a_format_key_cannot_be_taken_twice() -> None:
    with pytest.raises(ValueError, match="'csv' is registered twice"):
        export_format("csv", "Again", ".csv")(lambda analysis, baseline: b"")


def test_a_file_name_that_is_no_unicode_costs_no_report() -> None:
    strange = msgspec.structs.replace(NOW, model=ModelInfo("net", "bad\udcff.py:build", "python"))
    for key in REPORTS:
        assert b"bad" in render(strange, key) or key == "csv"


def test_cards_follow_the_table_of_metrics() -> None:
    text = render(NOW, "md").decode()
    timed = render(MEASURED, "md").decode()
    for metric in METRICS:
        assert (metric.description in timed) is not metric.weighed
        assert (metric.description in text) is not (metric.measured or metric.weighed)
    assert METRIC["macs"].label in text


def test_csv_has_measured_columns_only_when_layers_were_timed() -> None:
    rows = table(render(MEASURED, "csv", BEFORE))
    assert [row["latency_s"] for row in rows if row["calls"]] == ["0.02", "0.01", "0.0", "0.005"]
    assert rows[0]["macs_per_s"] == repr((2**53 + 1) / 0.020)
    assert rows[0]["latency_note"] == rows[0]["baseline_latency_s"] == ""
    for data in (render(NOW, "csv", BEFORE), render(measured(NOW, 0.04), "csv")):
        assert not {"latency_s", "cpu_s", "cores_busy", "macs_per_s", "latency_note"} & table(data)[0].keys()


def test_a_single_pass_has_no_cpu_time() -> None:
    assert MEASURED.latency is not None
    single = msgspec.structs.replace(MEASURED.latency.measurement, cpu_s=(), delay_s=())
    page = render(with_latency(NOW, MEASURED.latency.with_part(single)), "md").decode()
    assert re.search(r"\| CPU time \| not measured \|", page)


def test_csv_can_do_without_the_time_of_a_row() -> None:
    """Another process timed the layers; it may have found others."""
    assert MEASURED.latency is not None
    assert MEASURED.latency.layers is not None
    latency = MEASURED.latency.with_part(
        msgspec.structs.replace(
            MEASURED.latency.layers,
            **{
                name: getattr(MEASURED.latency.layers, name)[1:]
                for name in ("row_id", "latency_s", "cpu_s", "note")
            },
        )
    )
    rows = table(render(with_latency(NOW, latency), "csv"))
    assert [row["latency_s"] for row in rows] == ["", "0.01", "0.0", "0.005"]


@pytest.mark.parametrize("key", ["md", "html"])
def test_what_disturbed_the_comparison_is_a_doubt_too(key: str) -> None:
    now = measured(NOW, 0.040, against=BEFORE, ratio=2.0)
    assert now.latency is not None
    assert now.latency.comparison is not None
    disturbed = msgspec.structs.replace(
        now.latency.comparison, flags=(Flag("slowed", "in 9 of 20 readings"),)
    )
    page = render(with_latency(now, now.latency.with_part(disturbed)), key, measured(BEFORE, 0.02)).decode()
    assert "while it was compared, in 9 of 20 readings" in page
    assert "The machine was quiet" not in page


def test_csv_does_not_call_a_layer_changed_for_its_time() -> None:
    rows = table(render(measured(NOW, 0.05, {"a:linear": 0.03}), "csv", MEASURED))
    assert {row["change"] for row in rows} == {"same"}


@pytest.mark.parametrize("key", ["md", "html"])
def test_the_latency_is_told_with_all_that_it_holds_for(key: str) -> None:
    flags = (Flag("preempted", "run-queue delay above 2 % in 5 of 10 samples"),)
    now = measured(NOW, 0.040, LAYER_SECONDS, against=BEFORE, ratio=2.0, flags=flags)
    page = re.sub(r"\\(.)", r"\1", render(now, key, MEASURED_BEFORE).decode())
    for words in (
        f"40.0 ± 0.4{THIN}ms, median of 10, 2 threads, batch 1, float32, CPU.",
        "the interval is narrow enough",
        "ther programs took the cores: run-queue delay above 2 % in 5 of 10 samples",
        f"{THIN}ms, median of the 8 samples whose threads hardly waited for a core",
        f"120{THIN}ms, not among the samples",
        "Kernel workspace (their difference)",
        f"6.00{THIN}MiB",
        "n/a (no peak here)",
        "unattributed",
        "10 module calls at",
        "Some CPU",
        "2026-01-02T03:04:05+00:00",
        "Fingerprint",
        f"×{THIN}2.00 (1.99–2.01), slower",
        f"20.0{THIN}ms",
    ):
        assert words.replace(THIN, " ") in page.replace(THIN, " "), words


@pytest.mark.parametrize("key", ["md", "html"])
def test_without_a_measurement_nothing_is_said_about_latency(key: str) -> None:
    for baseline in (None, BEFORE):
        page = render(NOW, key, baseline).decode()
        assert not re.search("latency|cores busy|cpu time", page, re.IGNORECASE)


def test_a_quiet_machine_is_said_to_be_quiet() -> None:
    assert "The machine was quiet." in render(MEASURED, "md").decode()


def test_a_measured_total_is_not_given_to_its_last_digit() -> None:
    row = next(
        line for line in render(MEASURED, "md").decode().splitlines() if line.startswith("| Latency |")
    )
    assert row == f"| Latency | 40.0 ± 0.4{THIN}ms | — |"
    noise = measured(NOW, 0.04017354, LAYER_SECONDS)
    assert "4017354" not in render(noise, "md").decode()


def test_old_times_are_in_no_report() -> None:
    stale = with_latency(NOW, None, MEASURED_BEFORE.layer_times)
    assert stale.layer_times is not None
    for key in REPORTS:
        assert render(stale, key) == render(NOW, key)


def test_bars_of_times_have_an_axis_in_their_unit() -> None:
    picture = bars(MEASURED, MEASURED_BEFORE, "latency_s")
    assert f">20{THIN}ms<" in picture
    assert 'class="ghost"' in picture
    assert f"a linear\n20.0{THIN}ms" in picture
    assert bars(NOW, None, "latency_s") == ""


def test_the_shares_of_the_layers_state_what_they_are_of_and_add_up() -> None:
    net = small_net()
    seconds = {row: 0.004 + 0.001 * place for place, row in enumerate(net.layers.id)}
    section = latency_section(measured(net, 0.05, seconds), None)
    assert section is not None
    rows = {row.what: row for row in section.layers if not row.path}
    parts = [row for row in section.layers if row.what != "all layers"]
    assert sum(float(row.share.split(THIN)[0]) for row in parts) == pytest.approx(100, abs=2)
    assert rows["all layers"].time == duration(sum(seconds.values()))
    assert (
        "Shares are of all layers, unattributed time and the timing itself together"
        in section.layers_sentence
    )
