"""What is counted of the ONNX project's own models, and what is not, by name.

Of the 227 operators that onnx 1.23 knows, in all their versions, 199 have a formula and 28 a reason why they are not
counted (NOT_COUNTED). Its 1,884 cases and 149 files hold 204 of them; ROWS is the table of those rows that are not
counted. Rows whose shapes nobody knows are less than 1 in 300, and every operator that is counted has others.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
import pytest
from onnx import defs

from engine.configuration import Configuration
from engine.graph import InputShape
from engine.onnx.loading import load
from engine.onnx.session import OnnxSession
from engine.onnx.translate import explanation, known_operators
from engine.results import Analysis
from engine.tree import idle_rows
from tests.conftest import EVERYTHING, sampled
from tests.engine import onnx_corpus
from tests.engine.onnx_nodes import analysed
from tests.engine.onnx_text import document, parsed

TEXT = {
    "ImageDecoder",
    "RegexFullMatch",
    "StringConcat",
    "StringNormalizer",
    "StringSplit",
    "TfIdfVectorizer",
}
"""They work on text or compressed images, whose length no shape tells."""
DATA = {
    "Bernoulli", "Compress", "Multinomial", "NonMaxSuppression", "NonZero", "RandomNormal", "RandomNormalLike",
    "RandomUniform", "RandomUniformLike", "TopK", "Unique", "MaxRoiPool", "ai.onnx.ml.TreeEnsemble",
    "ai.onnx.ml.TreeEnsembleClassifier", "ai.onnx.ml.TreeEnsembleRegressor",
}  # fmt: skip
"""Random numbers, sorts and searches: how much they do depends on the data."""
ALGORITHM = {
    "CumProd", "CumSum", "DFT", "Det", "MelWeightMatrix", "STFT", "ai.onnx.preview.training.Gradient",
}  # fmt: skip
"""Scans, transforms and decompositions: how much they do depends on the algorithm."""
NOT_COUNTED = TEXT | DATA | ALGORITHM

ROWS = {
    "StringNormalizer": 12, "DFT": 10, "NonMaxSuppression": 10, "CumProd": 9, "CumSum": 9, "ImageDecoder": 9,
    "TfIdfVectorizer": 7, "TopK": 7, "Unique": 7, "StringSplit": 6, "Compress": 5, "StringConcat": 5, "Bernoulli": 3,
    "RandomUniformLike": 3, "RegexFullMatch": 3, "Det": 2, "STFT": 2, "ai.onnx.ml.TreeEnsemble": 2,
    "ai.onnx.preview.training.Gradient": 2, "MelWeightMatrix": 1, "NonZero": 1,
}  # fmt: skip
"""Rows of the corpus that are not counted, by operator."""
COUNTED_OPERATORS, COUNTED_ROWS = 183, 13_900
"""Operators of the corpus of which rows are counted, and at least how many rows."""

UNKNOWN_SHAPE = re.compile(r"not counted: the shape of (in|out)put '.*' is not known")


def labels() -> Iterator[tuple[str, str]]:
    for schema in defs.get_all_schemas_with_history():
        yield schema.domain, schema.name


def label(domain: str, op: str) -> str:
    return f"{domain}.{op}" if domain else op


def test_every_operator_of_every_version_is_known() -> None:
    operators = set(labels())
    assert not operators - set(known_operators())
    named = {label(*operator) for operator in operators}
    assert named >= NOT_COUNTED
    if onnx.__version__.startswith("1.23."):
        assert (len(named), len(NOT_COUNTED)) == (227, 28)


def test_every_formula_explains_itself() -> None:
    missing = [key for key in known_operators() if len(explanation(*key)) < 20]
    assert not missing


def test_operators_of_onnxruntime_are_known() -> None:
    """Of the domains that files hold."""
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

    known = known_operators()
    schemas = {(schema.domain, schema.name) for schema in get_all_operator_schema()}
    assert {domain for domain, _ in schemas} >= {"", "ai.onnx.ml", "com.microsoft"}
    unknown = {(domain, op) for domain, op in schemas if (domain, op) not in known}
    assert {domain for domain, _ in unknown} <= {"com.ms.internal.nhwc"}, unknown


def judge(analysis: Analysis, counted: Counter[str], uncounted: Counter[str], blank: Counter[str]) -> None:
    """Every row is counted, is of an operator that is not, or has a shape that nobody knows."""
    layers = analysis.layers
    for op, flops, formula in zip(layers.op, layers.flops, layers.formula, strict=True):
        if flops is not None:
            counted[op] += 1
            assert op not in NOT_COUNTED
        elif UNKNOWN_SHAPE.match(formula):
            blank[op] += 1
        else:
            assert op in NOT_COUNTED, formula
            uncounted[op] += 1


def paths(modules: Iterable[str], files: Iterable[Path], folder: Path) -> Iterator[Path]:
    yield from files
    for module in modules:
        for case in onnx_corpus.cases_of(module):
            path = case.write(folder)
            yield path
            path.unlink()


def test_rows_of_the_corpus_are_counted_or_named(tmp_path: Path) -> None:
    modules = sampled(onnx_corpus.node_modules(), 8, "counted")
    files = sampled(onnx_corpus.files(), 20, "counted")
    counted, uncounted, blank = Counter[str](), Counter[str](), Counter[str]()
    for path in paths(modules, files, tmp_path):
        judge(analysed(path, allow_real_run=True), counted, uncounted, blank)
    assert sum(counted.values()) > 10
    assert set(uncounted) <= set(ROWS)
    if EVERYTHING:
        assert uncounted == ROWS
        assert len(counted) == COUNTED_OPERATORS
        assert sum(counted.values()) >= COUNTED_ROWS
        assert set(blank) <= set(counted)
        assert sum(blank.values()) < sum(counted.values()) / 300


@pytest.mark.parametrize(
    "module",
    sampled([name for name in onnx_corpus.node_modules() if not name.endswith("affinegrid")], 8, "expanded"),
    ids=lambda name: name.rpartition(".")[2],
)
def test_an_operator_has_the_macs_of_what_defines_it(module: str, tmp_path: Path) -> None:
    """Operators that ONNX defines by others come with both: attention is two products, in the end.

    The size of an affine grid is data, which the two forms assume apart.
    """
    cases = {case.name: case for case in onnx_corpus.cases_of(module)}
    for name, case in cases.items():
        for other in cases:
            if other.startswith(f"{name}_expanded"):
                whole = analysed(case.write(tmp_path), allow_real_run=True)
                parts = analysed(cases[other].write(tmp_path), allow_real_run=True)
                assert whole.totals.macs == parts.totals.macs, other


@pytest.mark.parametrize("length", [4, 40, 400])
def test_what_is_counted_does_not_depend_on_how_large_the_input_is(length: int, tmp_path: Path) -> None:
    """Sizes, and arithmetic on them, are idle; positions made of them are data, of however few tokens."""
    text = """agraph (int64[B,S] ids) => (y) <int64 zero = {0}, int64 one = {1}, int64[1] first = {0}> {
        sizes = Shape(ids)
        batch = Gather<axis = 0>(sizes, zero)
        tokens = Gather<axis = 0>(sizes, one)
        all = Mul(batch, tokens)
        wanted = Unsqueeze(all, first)
        rank = Shape(wanted)
        ones = ConstantOfShape(rank)
        both = Mul(wanted, ones)
        steps = Range(zero, tokens, one)
        sums = CumSum(steps, zero)
        e = Gather(table, sums)
        y = Mul(e, e)
    }"""
    opened = OnnxSession(load(document(parsed(text, {"table": (100_000, 4)}), tmp_path).path))
    found = opened.analyze(Configuration((InputShape("ids", (2, length), "int64"),)))
    idle = [op for at, op in enumerate(found.layers.op) if at in idle_rows(found)]
    assert idle == ["Shape", "Gather", "Gather", "Mul", "Unsqueeze", "Shape", "ConstantOfShape", "Mul"]
    assert [(each.op, each.calls) for each in found.coverage.not_counted] == [("CumSum", 1)]
    assert found.layers.activation_bytes[-4:] == (length * 8, length * 8, length * 16, length * 16)
