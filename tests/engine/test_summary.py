"""What changed, in words: the same sentences in the window and in reports."""

from __future__ import annotations

import msgspec
import pytest

from engine import numbers
from engine.configuration import Configuration
from engine.edits import SetAttribute
from engine.graph import InputShape
from engine.results import Analysis
from engine.summary import MANY_PARTS, MAX_CONTRIBUTORS, Sentence, Summary, headline, input_change, summarise
from engine.tree_values import compared
from tests.gui.analyses import Mod, Row, make, small_net


def plain(sentence: Sentence) -> str:
    return "".join(span.text for span in sentence)


def summary(analysis: Analysis, baseline: Analysis | None, mode: str = "macs") -> Summary:
    return summarise(compared(analysis, baseline), mode)


def where(result: Summary) -> list[str]:
    return [plain(sentence) for sentence in result.where]


def edited(analysis: Analysis, *edits: SetAttribute) -> Analysis:
    return msgspec.structs.replace(
        analysis, configuration=msgspec.structs.replace(analysis.configuration, edits=edits)
    )


def chain(costs: dict[str, int]) -> Analysis:
    """A model of linear layers with these MACs."""
    mods = [Mod("", "Net"), *(Mod(name, "Linear") for name in costs)]
    rows = [Row(f"{name}:linear", name, macs=macs, flops=2 * macs) for name, macs in costs.items()]
    return make(mods, rows)


def test_a_removed_pool() -> None:
    result = summary(small_net(pool=False), small_net())
    assert (
        plain(result.headline)
        == "Same parameters, 2.71\N{NARROW NO-BREAK SPACE}× the MACs, the same peak memory."
    )
    assert where(result) == [
        "Everything after pool works on 4.00\N{NARROW NO-BREAK SPACE}× the positions.",
        "Only conv1, relu and fc cost what they did.",
    ]
    assert result.python == ("model.pool = nn.Identity()",)
    links = [span.node for sentence in result.where for span in sentence if span.node is not None]
    assert links == ["pool", "conv1:conv2d", "relu:relu", "fc:linear"]


def test_a_larger_input() -> None:
    result = summary(small_net(256), small_net())
    assert (
        plain(result.headline)
        == "Same parameters, 31\N{NARROW NO-BREAK SPACE}% more MACs, 31\N{NARROW NO-BREAK SPACE}% more peak memory."
    )
    assert where(result)[-1] == "Only fc costs what it did."
    assert result.circumstances == ("x: 224×224 → 256×256",)
    assert result.python == ()


def test_less_is_said_as_less() -> None:
    result = summary(small_net(200), small_net())
    assert (
        plain(result.headline)
        == "Same parameters, 20\N{NARROW NO-BREAK SPACE}% fewer MACs, 20\N{NARROW NO-BREAK SPACE}% less peak memory."
    )


def test_the_baseline_itself_is_empty() -> None:
    assert summary(small_net(), small_net()).is_empty
    assert summary(small_net(), None).is_empty


def test_factors_are_grouped_and_the_dearest_comes_first() -> None:
    before = chain({"a": 10, "b": 10, "c": 100, "d": 7})
    after = edited(chain({"a": 20, "b": 20, "c": 300, "d": 7}), SetAttribute("a", "stride", 1))
    result = summary(after, before)
    assert where(result) == [
        "c costs 3.00\N{NARROW NO-BREAK SPACE}× what it did.",
        "a and b cost 2.00\N{NARROW NO-BREAK SPACE}× what they did.",
        "Only d costs what it did.",
    ]


def test_a_part_that_holds_nearly_all_is_opened() -> None:
    result = summary(small_net(pool=False), small_net())
    assert [part.label for part in result.contributors] == ["blocks.0", "blocks.1"]


def test_contributors_add_up() -> None:
    before = chain({"a": 100, "b": 100})
    result = summary(edited(chain({"a": 400, "b": 200}), SetAttribute("a", "stride", 1)), before)
    assert [(part.label, part.change, part.share) for part in result.contributors] == [
        ("a", "+300", "75\N{NARROW NO-BREAK SPACE}%"),
        ("b", "+100", "25\N{NARROW NO-BREAK SPACE}%"),
    ]


def test_flops_have_their_own_sentence() -> None:
    assert "FLOPs" in plain(summary(small_net(pool=False), small_net(), "flops").headline)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ((1, 3, 224, 224), (1, 3, 256, 192), "224×224 → 256×192"),
        ((1, 3, 224, 224), (8, 3, 224, 224), "batch 1 → 8"),
        ((1, 128), (1, 256), "1×128 → 1×256"),
        ((1, 3, 8, 8), (2, 3, 9, 9), "1×3×8×8 → 2×3×9×9"),
    ],
)
def test_input_change(before: tuple[int, ...], after: tuple[int, ...], words: str) -> None:
    assert input_change(InputShape("x", before), InputShape("x", after)) == words


def test_another_model_and_assumptions_are_said() -> None:
    before = chain({"a": 1})
    other = msgspec.structs.replace(
        before,
        model=msgspec.structs.replace(before.model, name="old", source="old.json"),
        configuration=Configuration(before.configuration.inputs, assumptions=(("proposals", 1000),)),
    )
    after = msgspec.structs.replace(
        chain({"a": 2}),
        configuration=Configuration(before.configuration.inputs, assumptions=(("proposals", 300),)),
    )
    assert summary(after, other).circumstances == ("Compared with old", "proposals: 1,000 → 300")


def test_the_headline_alone_says_that_nothing_changed() -> None:
    assert plain(headline(small_net(), small_net(), "macs")) == (
        "Same parameters, the same MACs, the same peak memory."
    )


def test_a_model_of_many_parts_is_told_by_its_largest_contributors() -> None:
    def net(factor: int) -> Analysis:
        analysis = chain({f"n{i}": i * factor for i in range(1, MANY_PARTS + 2)})
        assumed = msgspec.structs.replace(analysis.configuration, assumptions=(("trips", factor),))
        return msgspec.structs.replace(analysis, configuration=assumed)

    result = summary(net(3), net(1))
    assert not result.where
    largest = range(MANY_PARTS + 1, MANY_PARTS + 1 - MAX_CONTRIBUTORS, -1)
    assert [part.node for part in result.contributors] == [f"n{i}:linear" for i in largest]
    assert [part.change for part in result.contributors] == [f"+{numbers.count(2 * i)}" for i in largest]


def test_python_of_an_onnx_model_imports_what_it_uses() -> None:
    edits = (SetAttribute("a", "pads", (1, 1)), SetAttribute("b", "axis", 1), SetAttribute("c", "k", 2))
    lines = (("node.x = helper.make_attribute()",), ("# numpy.x",), ("values = numpy.ones(2)",))
    analysis = edited(small_net(), *edits)
    onnx = msgspec.structs.replace(
        analysis, model=msgspec.structs.replace(analysis.model, format="onnx"), edit_lines=lines
    )
    assert onnx.python_lines() == ["import numpy", "from onnx import helper", *(each for (each,) in lines)]
    assert onnx.python_lines(edits[:1])[:-1] == ["from onnx import helper"]
    assert onnx.python_lines(edits[1:2]) == ["# numpy.x"]
