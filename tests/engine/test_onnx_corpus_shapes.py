"""Shapes of all of the ONNX project's own models: its 1,884 node cases and the 149 files that its package ships.

An input of a case that sets a size (the target of a Reshape) has its value stated as an assumption, which is what a
user would do; where a size depends on what is in the data, an upper bound is assumed, and the case's own is below.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy
import pytest

from engine.errors import EngineError
from engine.graph import InputShape
from engine.loaders.options import LoadOptions
from engine.onnx.document import Document, open_document
from engine.onnx.dtypes import dtype_name
from engine.onnx.shapes import ShapeEngine
from engine.open_model import FailedAnalysisError
from engine.opening import open_model
from tests.conftest import EVERYTHING, sampled
from tests.engine.onnx_corpus import ONNX_DATA, Case, cases_of, files, node_modules, shape_of

SLOW = ("averagepool", "lppool", "maxpool")
"""Modules whose cases compute pooling in Python: a second each."""

UNKNOWN_CASES = {
    "test_affine_grid_2d_align_corners_expanded", "test_affine_grid_2d_expanded",
    "test_loop11",
    "test_sequence_map_add_1_sequence_1_tensor_expanded", "test_sequence_map_add_2_sequences",
    "test_sequence_map_add_2_sequences_expanded", "test_sequence_map_extract_shapes_expanded",
    "test_sequence_map_identity_1_sequence", "test_sequence_map_identity_1_sequence_1_tensor",
    "test_sequence_map_identity_1_sequence_1_tensor_expanded", "test_sequence_map_identity_1_sequence_expanded",
    "test_sequence_map_identity_2_sequences", "test_sequence_map_identity_2_sequences_expanded",
}  # fmt: skip
"""Values taken out of a sequence whose elements have no declared shape, and a value that grows in a loop."""

BOUNDED = frozenset(
    {"Compress", "NonZero", "Unique", "NonMaxSuppression", "StringSplit", "StringNormalizer", "ImageDecoder"}
)
"""Operators of which the default is not what the data of a case has."""


class Seen(NamedTuple):
    """What became of one case."""

    name: str
    way: str
    """``inferred``, ``assumed`` (with stated sizes) or ``unknown``."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corpus")


def test_node_cases_are_shaped_as_their_data_are(folder: Path) -> None:
    modules = [name for name in node_modules() if EVERYTHING or not name.endswith(SLOW)]
    """Each opens and is analysed at the sizes that its file declares, too."""
    seen = [_check(case, folder) for name in sampled(modules, 50, "node cases") for case in cases_of(name)]
    table = Counter(each.way for each in seen)
    unknown = {each.name for each in seen if each.way == "unknown"}
    assert unknown <= UNKNOWN_CASES
    assert len(unknown) <= max(0.05 * len(seen), len(UNKNOWN_CASES))
    if EVERYTHING:
        assert unknown == UNKNOWN_CASES
        assert table == {"inferred": 1568, "assumed": 303, "unknown": 13}


def _check(case: Case, folder: Path) -> Seen:
    path = case.write(folder)
    session = open_model(str(path), LoadOptions())
    session.analyze(session.default_configuration())
    document = open_document(path)
    shapes = ShapeEngine(document).infer(_inputs(case), _values(case))
    for name, value in case.outputs.items():
        shape = shape_of(value)
        found = shapes.main.of(name).shape
        if shape is not None and found is not None and not _is_bounded(case, document):
            assert found == shape, f"{case.name}: {name} is {shape}, inferred {found}"
    way = "unknown" if shapes.unknown else "assumed" if shapes.assumptions else "inferred"
    return Seen(case.name, way)


def _inputs(case: Case) -> list[InputShape]:
    return [
        InputShape(value.name, shape, dtype_name(value.type.tensor_type.elem_type))
        for value in case.model.graph.input
        if value.type.HasField("tensor_type") and (shape := shape_of(case.inputs.get(value.name))) is not None
    ]


def _values(case: Case) -> dict[str, int]:
    """Small values of the case's inputs, under the keys by which they would be set."""
    values: dict[str, int] = {}
    for name, given in case.inputs.items():
        array = given if isinstance(given, (numpy.ndarray, numpy.generic)) else None
        if array is None or array.size > 16 or array.dtype.kind not in "iufb":
            continue
        numbers = numpy.asarray(array, numpy.float64).reshape(-1)
        keys = [name] if array.ndim == 0 else [f"{name}[{i}]" for i in range(len(numbers))]
        values |= {key: int(each) for key, each in zip(keys, numbers, strict=True) if abs(each) < 2**53}
    return values


def _is_bounded(case: Case, document: Document) -> bool:
    """Whether the data have a size below the assumed one, or a scale between two whole numbers."""
    ops = {node.op_type for node in document.graph.walk()}
    scales = [
        value
        for value in case.inputs.values()
        if isinstance(value, numpy.ndarray) and value.dtype.kind == "f" and value.ndim <= 1
    ]
    part = any(numpy.any(value != numpy.round(value)) for value in scales)
    return bool(ops & BOUNDED) or (part and bool(ops & {"Resize", "Upsample"})) or case.name in ESTIMATED


ESTIMATED = frozenset(
    {
        "test_affine_grid_3d_expanded", "test_affine_grid_3d_align_corners_expanded",
        "test_range_float16_type_positive_delta_expanded", "test_range_bfloat16_type_positive_delta",
        "test_range_bfloat16_type_positive_delta_expanded",
    }
)  # fmt: skip
"""A size that is read from what a branch returns; numbers that this test cannot state as whole ones."""


# -- files -----------------------------------------------------------------------------------------------------------


def test_every_file_opens_and_is_shaped() -> None:
    """With the sizes that they declare, none is refused, and no size is assumed."""
    found = files()
    unknown, refused = set(), {}
    for path in sampled(found, 40, "onnx files"):
        name = path.relative_to(ONNX_DATA).as_posix()
        try:
            session = open_model(str(path), LoadOptions())
            analysis = session.analyze(session.default_configuration())
        except (EngineError, FailedAnalysisError) as error:
            refused[name] = str(error)
            continue
        if any("shapes are not known" in formula for formula in analysis.layers.formula):
            unknown.add(name)
    assert (unknown, refused) == (set(), {})
