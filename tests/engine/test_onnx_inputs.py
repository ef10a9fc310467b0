"""Inputs of ONNX files as sliders: names of dimensions, open sizes, fixed ones, and what is no tensor."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy
import pytest
from onnx import numpy_helper

from engine.configuration import Configuration
from engine.errors import InputError
from engine.graph import Dim, InputShape, Shape
from engine.loaders.options import LoadOptions
from engine.onnx.inputs import opened_inputs
from engine.onnx.session import OnnxSession
from engine.onnx.shapes import ShapeEngine
from engine.open_model import FailedAnalysisError, OpenModel
from engine.opening import open_model
from gui import sizes
from tests.engine.onnx_text import document, parsed


def _open(text: str, weights: dict[str, Shape], folder: Path, *given: InputShape) -> OpenModel:
    return open_model(str(document(parsed(text, weights), folder).path), LoadOptions(), given)


def _dims(session: OpenModel) -> dict[str, list[tuple[str, int, str | None]]]:
    return {spec.name: [(dim.label, dim.size, dim.symbol) for dim in spec.dims] for spec in session.specs}


def test_open_dimensions_of_an_image_get_sliders(tmp_path: Path) -> None:
    """The channels are what the first layer's weight asks for."""
    text = "agraph (float[N,C,H,W] pixels) => (y) { y = Conv<group = 2>(pixels, w) }"
    session = _open(text, {"w": (8, 3, 3, 3)}, tmp_path)
    assert _dims(session) == {
        "pixels": [("batch", 1, "N"), ("channels", 6, None), ("height", 224, "H"), ("width", 224, "W")]
    }
    assert session.analyze(session.default_configuration()).totals.macs == 222 * 222 * 8 * 3 * 9


def test_dimensions_without_a_name_are_told_by_their_place(tmp_path: Path) -> None:
    model = parsed("agraph (float[2,3,32,48] x) => (y) { y = Conv(x, w) }", {"w": (8, 3, 3, 3)})
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].ClearField("dim_value")
    opened = document(model, tmp_path)
    specs = opened_inputs(opened, ShapeEngine(opened)).specs
    assert [(dim.label, dim.size, dim.symbol) for dim in specs[0].dims] == [
        ("batch", 2, "batch"), ("channels", 3, None), ("height", 224, "height"), ("width", 224, "width"),
    ]  # fmt: skip


def test_dimensions_of_one_name_move_together(tmp_path: Path) -> None:
    text = """agraph (int64[batch_size,sequence_length] ids, int64[batch_size,sequence_length] types) => (y) {
        a = Gather(table, ids) b = Gather(table, types) y = Add(a, b)
    }"""
    session = _open(text, {"table": (10, 4)}, tmp_path)
    dims = [("batch", 1, "batch_size"), ("sequence", 128, "sequence_length")]
    assert _dims(session) == {"ids": dims, "types": dims}
    inputs = sizes.with_sizes(
        session.specs, session.default_configuration().inputs, {"sequence_length": 200, "batch_size": 3}
    )
    assert [each.shape for each in inputs] == [(3, 200), (3, 200)]
    analysis = session.analyze(Configuration(inputs))
    assert analysis.output_shapes == ((3, 200, 4),)


def test_a_fixed_size_can_be_overridden_and_a_structural_one_has_no_slider(tmp_path: Path) -> None:
    session = _open("agraph (float[1,3,8,8] x) => (y) { y = Conv(x, w) }", {"w": (4, 3, 3, 3)}, tmp_path)
    assert [symbol for _, _, symbol in _dims(session)["x"]] == ["batch", None, "height", "width"]
    analysis = session.analyze(Configuration((InputShape("x", (2, 3, 10, 12)),)))
    assert analysis.output_shapes == ((2, 4, 8, 10),)
    assert session.info.fixed_sizes == ""


def test_a_file_whose_sizes_are_all_written_down_says_so(tmp_path: Path) -> None:
    text = (
        "agraph (float[1,3,8,8] x) => (y) <int64[2] s = {1, 144}> { c = Conv(x, w) [flat] y = Reshape(c, s) }"
    )
    session = _open(text, {"w": (4, 3, 3, 3)}, tmp_path)
    assert session.info.fixed_sizes == (
        "The file was exported for 1×3×8×8; these sizes are written into it, first at flat."
    )


def test_open_sizes_start_where_the_model_runs(tmp_path: Path) -> None:
    """A linear layer behind the convolution fits 28 × 28 only."""
    text = "agraph (float[N,1,H,W] x) => (y) { c = Conv(x, w) f = Flatten(c) y = Gemm<transB = 1>(f, v) }"
    session = _open(text, {"w": (2, 1, 3, 3), "v": (10, 2 * 26 * 26)}, tmp_path)
    assert [size for _, size, _ in _dims(session)["x"]] == [1, 1, 28, 28]
    assert session.analyze(session.default_configuration()).output_shapes == ((1, 10),)


def test_a_mask_is_as_long_as_the_cache_and_the_new_tokens(tmp_path: Path) -> None:
    """Moved with them, it fits; by itself it is no slider."""
    text = """agraph (
        int64[batch,sequence_length] ids,
        float[batch,total_sequence_length] mask,
        float[batch,2,past_sequence_length,8] past_key
    ) => (scores) <int64[4] heads = {0, 0, 2, 8}, int64[2] axes = {1, 2}> {
        t = Gather(table, ids)
        h = Reshape(t, heads)
        k = Transpose<perm = [0, 2, 1, 3]>(h)
        all = Concat<axis = 2>(past_key, k)
        keys = Transpose<perm = [0, 1, 3, 2]>(all)
        s = MatMul(k, keys)
        m = Unsqueeze(mask, axes)
        scores = Add(s, m)
    }"""
    session = _open(text, {"table": (10, 16)}, tmp_path)
    dims = _dims(session)
    assert dims["ids"] == [("batch", 1, "batch"), ("sequence", 1, "sequence_length")]
    assert dims["past_key"][2] == ("sequence", 128, "past_sequence_length")
    assert [symbol for _, _, symbol in dims["past_key"]] == ["batch", None, "past_sequence_length", None]
    assert dims["mask"] == [("batch", 1, "batch"), ("sequence", 129, None)]
    start = session.default_configuration()
    assert session.analyze(start).output_shapes == ((1, 2, 1, 129),)
    moved = sizes.with_sizes(session.specs, start.inputs, {"past_sequence_length": 40, "sequence_length": 3})
    assert [each.shape for each in moved] == [(1, 3), (1, 43), (1, 2, 40, 8)]
    assert session.analyze(Configuration(moved)).output_shapes == ((1, 2, 3, 43),)


def test_a_sum_written_as_the_name_of_a_dimension_is_followed(tmp_path: Path) -> None:
    model = parsed(
        "agraph (float[past_len,4] past, float[S,4] mask) => (y) { y = Concat<axis = 0>(past, mask) }"
    )
    model.graph.input[1].type.tensor_type.shape.dim[0].dim_param = "past_len + 1"
    opened = document(model, tmp_path)
    specs = opened_inputs(opened, ShapeEngine(opened)).specs
    assert specs[1].dims[0] == Dim(specs[1].dims[0].label, 129, sum_of=("past_len", "1"))


def test_an_input_without_dimensions_is_a_guess_until_it_is_given(tmp_path: Path) -> None:
    model = parsed("agraph (float[N] x, float[M] v) => (y) { y = Add(x, v) }")
    model.graph.input[0].type.tensor_type.ClearField("shape")
    path = str(document(model, tmp_path).path)
    session = open_model(path, LoadOptions())
    assert session.guessed_inputs
    assert len(session.specs[0].dims) == 4
    told = open_model(path, LoadOptions(), (InputShape("x", (7, 5, 1)),))
    assert not told.guessed_inputs
    assert told.specs[0].default.shape == (7, 5, 1)
    assert told.analyze(told.default_configuration()).output_shapes == ((7, 5, 1),)


def test_the_first_layer_tells_how_many_dimensions_there_are(tmp_path: Path) -> None:
    model = parsed("agraph (float[N] x) => (y) { y = Conv(x, w) }", {"w": (4, 2, 3)})
    model.graph.input[0].type.tensor_type.ClearField("shape")
    opened = document(model, tmp_path)
    found = opened_inputs(opened, ShapeEngine(opened))
    assert found.guessed
    assert len(found.specs[0].dims) == 3
    assert found.specs[0].dims[1].size == 2


def test_what_is_no_tensor_has_no_sizes_to_set(tmp_path: Path) -> None:
    """Sequences, scalars, initializers that old files list as inputs."""
    model = parsed(
        """agraph (seq(float[4]) parts, float x, float[4] w) => (y) {
            a = ConcatFromSequence<axis = 0>(parts) b = Mul(a, x) y = Mul(b, w)
        }"""
    )
    model.graph.initializer.extend(parsed("agraph () => () <float[4] w = {1, 2, 3, 4}> {}").graph.initializer)
    opened = document(model, tmp_path)
    specs = opened_inputs(opened, ShapeEngine(opened)).specs
    assert [(spec.name, spec.dims) for spec in specs] == [("x", ())]


def test_integer_inputs_are_tokens_and_bytes_are_images(tmp_path: Path) -> None:
    text = "agraph (int32[dim_0,in_dim_1] a, uint8[s0,3,s1,s2] b, float[P,s3,7] c) => (y) { y = Shape(a) }"
    opened = document(parsed(text), tmp_path)
    specs = opened_inputs(opened, ShapeEngine(opened)).specs
    assert [[dim.label for dim in spec.dims] for spec in specs] == [
        ["batch", "sequence"], ["batch", "channels", "height", "width"], ["P", "sequence", "features"],
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", ["uint16", "uint64", "float16", "bfloat16"])
def test_inputs_of_rare_types_are_analysed(dtype: str, tmp_path: Path) -> None:
    opened = _open(f"agraph ({dtype}[N,4] x) => (y) {{ y = Identity(x) }}", {}, tmp_path)
    assert isinstance(opened, OnnxSession)
    assert opened.specs[0].dtype == dtype
    wider = msgspec.structs.replace(opened.specs[0].default, shape=(5, 4))
    assert opened.analyze(Configuration((wider,))).output_shapes == ((5, 4),)


def test_an_empty_vector_stays_empty_and_other_zeros_are_open(tmp_path: Path) -> None:
    """Axes to reduce along may be none; some exporters write 0 where a size is free."""
    model = parsed("agraph (float[0,3] x, int64[0] axes) => (y) { y = ReduceSum(x, axes) }", opset=13)
    session = open_model(str(document(model, tmp_path).path), LoadOptions())
    assert _dims(session) == {
        "x": [("batch", 1, "batch"), ("features", 3, None)],
        "axes": [("sequence", 0, None)],
    }
    assert session.analyze(session.default_configuration()).output_shapes == ((1, 1),)


def test_a_dtype_that_the_file_fixes_stays(tmp_path: Path) -> None:
    text = "agraph (float[N,6] x, int64[N] i) => (y, z) { y = MatMul(x, w) z = Identity(i) }"
    session = _open(text, {"w": (6, 3)}, tmp_path, InputShape("x", (2, 6), "float16"))
    assert [spec.dtype for spec in session.specs] == ["float32", "int64"]
    given = (InputShape("x", (2, 6), ""), InputShape("i", (2,), "int64"))
    assert [each.dtype for each in session.complete(given)] == ["float32", "int64"]
    for name, shape, dtype, told in (
        ("x", (2, 6), "float16", "'x' is float32 in the file and cannot be float16"),
        ("x", (2, 6), "int64", "'x' is float32 in the file and cannot be int64"),
        ("i", (2,), "float32", "'i' is int64 in the file and cannot be float32"),
    ):
        with pytest.raises(InputError, match=told):
            session.analyze(Configuration((InputShape(name, shape, dtype),)))


def test_a_dtype_of_an_input_without_a_number_of_dimensions_is_that_of_the_file(tmp_path: Path) -> None:
    model = parsed("agraph (int64[N] ids) => (y) { y = Gather(w, ids) }", {"w": (9, 3)})
    model.graph.input[0].type.tensor_type.ClearField("shape")
    session = open_model(
        str(document(model, tmp_path).path), LoadOptions(), (InputShape("ids", (1, 4), "float32"),)
    )
    assert session.specs[0].default == InputShape("ids", (1, 4), "int64")


BAKED = """agraph (float[N,1,H,W] x) => (y) {
    a = Conv(x, w1) b = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(a)
    c = Conv(b, w2) d = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(c)
    f = Flatten(d) y = Gemm(f, w3)
}"""


@pytest.mark.parametrize("size", [16, 28, 52, 100, 344])
def test_a_size_that_only_a_classifier_tells_is_worked_out(size: int, tmp_path: Path) -> None:
    """Of those that the model takes, it opens at a round one."""
    features = (((size - 4) // 2 - 4) // 2) ** 2
    session = _open(BAKED, {"w1": (6, 1, 5, 5), "w2": (8, 6, 5, 5), "w3": (8 * features, 10)}, tmp_path)
    _, _, height, width = session.specs[0].dims
    assert abs(height.size - size) < 4 and height.size == width.size and height.size % 4 == 0
    assert height.minimum <= height.size <= height.maximum
    assert session.analyze(session.default_configuration()).output_shapes == ((1, 10),)


@pytest.mark.parametrize(("target", "dims"), [((1, 77, 2, 2), (1, 77, 4)), ((5, 5, 5), (1, 128, 4))])
def test_other_sizes_that_a_constant_bakes_in_are_worked_out(
    target: Shape, dims: Shape, tmp_path: Path
) -> None:
    """A batch last; the second constant fits no size, so that the usual ones stay."""
    model = parsed("agraph (float[N,S,4] x) => (y) { y = Reshape(x, target) }")
    model.graph.initializer.append(numpy_helper.from_array(numpy.array(target), "target"))
    session = open_model(str(document(model, tmp_path).path), LoadOptions())
    assert tuple(dim.size for dim in session.specs[0].dims) == dims


UNNAMED = [("batch", 1, "batch"), ("channels", 3, None), ("height", 224, "height"), ("width", 224, "width")]


@pytest.mark.parametrize(
    ("given", "dims"),
    [
        ("?,3,?,?", UNNAMED),
        ("None,3,unk__7,unk__7", UNNAMED),
        ("1,3,a,a", [("batch", 1, "batch"), ("channels", 3, None), ("height", 224, "a"), ("width", 224, "a")]),
        ("a,b,c,d", [("a", 1, "a"), ("b", 3, "b"), ("height", 224, "c"), ("width", 224, "d")]),
        ("N,C,H,W", [("batch", 1, "N"), ("channels", 3, None), ("height", 224, "H"), ("width", 224, "W")]),
    ],
)  # fmt: skip
def test_names_of_nothing_are_no_sizes_that_move_together(
    given: str, dims: list[tuple[str, int, str | None]], tmp_path: Path
) -> None:
    """Exporters write the same for every size that is open; letters in a row are told by their places."""
    model = parsed("agraph (float[1,1,1,1] x) => (y) { y = Conv(x, w) }", {"w": (8, 3, 3, 3)})
    for dim, name in zip(model.graph.input[0].type.tensor_type.shape.dim, given.split(","), strict=True):
        dim.Clear()
        if name.isdigit():
            dim.dim_value = int(name)
        else:
            dim.dim_param = name
    session = open_model(str(document(model, tmp_path).path), LoadOptions())
    assert _dims(session) == {"x": dims}
    assert session.analyze(session.default_configuration()).totals.macs == 222 * 222 * 8 * 3 * 9


POSITIONS = """agraph (int64[B,S] ids) => (y) <int64 zero = {0}, int64 one = {1}, int64[1] first = {0}> {
    sizes = Shape(ids) length = Gather(sizes, one)
    steps = Range(zero, length, one) places = Unsqueeze(steps, first)
    [embed] e = Gather(words, ids) [position] p = Gather(table, places) y = Add(e, p)
}"""


@pytest.mark.parametrize(("positions", "start", "most"), [(48, 32, 48), (512, 128, 512), (4096, 128, 4096)])
def test_tokens_go_as_far_as_the_table_of_positions(
    positions: int, start: int, most: int, tmp_path: Path
) -> None:
    session = _open(POSITIONS, {"words": (10, 4), "table": (positions, 4)}, tmp_path)
    batch, tokens = session.specs[0].dims
    assert (batch.label, batch.size, tokens.label, tokens.size, tokens.maximum) == (
        "batch", 1, "sequence", start, most,
    )  # fmt: skip
    assert tokens.minimum <= start and (start - tokens.minimum) % tokens.step == 0
    at = session.analyze(Configuration((InputShape("ids", (2, positions), "int64"),)))
    assert at.output_shapes == ((2, positions, 4),)
    with pytest.raises(FailedAnalysisError) as failed:
        session.analyze(Configuration((InputShape("ids", (2, positions + 1), "int64"),)))
    assert failed.value.error.message == (
        f"position (Gather) expects {positions:,} positions at most, as 'table' has and gets {positions + 1:,}."
    )
