"""ONNX files are opened without their weights, and these are found again where they lie."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import numpy
import onnx
import pytest
import torch
from onnx import TensorProto, external_data_helper, helper, numpy_helper
from torch import nn

from engine.errors import LoadError, UnsupportedModelError
from engine.files import Contents, describe, read
from engine.files.identify import identify
from engine.files.limits import Budget
from engine.files.onnx_outline import KEPT_BYTES, outline
from engine.files.regions import open_file
from engine.loaders.options import LoadOptions
from engine.onnx.document import Document, open_document
from engine.onnx.dtypes import NUMBERS
from engine.onnx.graph import StoredTensor
from engine.onnx.loading import load
from engine.onnx.session import OnnxSession
from engine.onnx.weights import reader, stored_tensors, values_of
from engine.onnx.zeros import count_zeros
from engine.opening import onnx_path, open_model
from tests.conftest import sampled
from tests.engine import onnx_files as files
from tests.onnx_models import export, randomised

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
THEIRS = sorted(path for path in DATA.rglob("*.onnx"))
"""The ONNX project's own models."""


def tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    yield from external_data_helper._get_all_tensors(model)


def as_raw(model: onnx.ModelProto) -> bytes:
    """``model`` with plain typed data as raw_data, which is the same."""
    for tensor in tensors(model):
        for field, dtype in (("float_data", "<f4"), ("double_data", "<f8")):
            values = getattr(tensor, field)
            if len(values) and not tensor.raw_data:
                tensor.raw_data = numpy.array(values, dtype).tobytes()
                tensor.ClearField(field)
        tensor.ClearField("data_location")
    return model.SerializeToString(deterministic=True)


def outlined(path: Path) -> onnx.ModelProto:
    with open_file(path) as region:
        return onnx.ModelProto.FromString(outline(region, Budget(), path.name))


@pytest.mark.parametrize("name", files.MADE)
def test_an_outline_with_its_external_data_is_the_file(name: str, tmp_path: Path) -> None:
    """onnx's own loader of external data finds in the file what was left out."""
    path = files.save(files.MADE[name](), tmp_path / f"{name}.onnx")
    short = outlined(path)
    assert any(tensor.data_location == TensorProto.EXTERNAL for tensor in tensors(short))
    assert short.ByteSize() < path.stat().st_size
    external_data_helper.load_external_data_for_model(short, str(tmp_path))
    whole = onnx.load(path)
    # _get_all_tensors of onnx sees neither sparse tensors nor those of functions, which stay as they are.
    for each in (*short.graph.sparse_initializer, *whole.graph.sparse_initializer):
        each.Clear()
    for each in (*short.functions, *whole.functions):
        each.Clear()
    assert as_raw(short) == as_raw(whole)


@pytest.mark.parametrize("path", sampled(THEIRS, 20, "outlines"), ids=lambda path: path.parent.name)
def test_the_projects_own_models(path: Path) -> None:
    short = outlined(path)
    external_data_helper.load_external_data_for_model(short, str(path.parent))
    assert as_raw(short) == as_raw(onnx.load(path))
    document = open_document(path)
    assert document.graph.nodes or not short.graph.node


def test_only_large_tensors_are_left_out(tmp_path: Path) -> None:
    made = files.model(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        [
            files.stored("floats", KEPT_BYTES // 4),
            files.stored("more floats", KEPT_BYTES // 4 + 1),
            files.stored("shape", 8_000, dtype="int64"),
            files.stored("indices", 9_000, dtype="int64"),
        ],
    )
    short = outlined(files.save(made, tmp_path / "net.onnx"))
    kept = {tensor.name: tensor.data_location != TensorProto.EXTERNAL for tensor in short.graph.initializer}
    assert kept == {"floats": True, "more floats": False, "shape": True, "indices": False}


@pytest.mark.parametrize("name", files.MADE)
def test_values_are_found_wherever_they_are(name: str, tmp_path: Path) -> None:
    path = files.save(files.MADE[name](), tmp_path / "net.onnx")
    document = open_document(path)
    whole = onnx.load(path)
    expected = {each.name: numpy_helper.to_array(each) for each in whole.graph.initializer}
    values = reader(document)
    for key, array in expected.items():
        numpy.testing.assert_array_equal(values(key), array)
    located = [each for each in stored_tensors(document.graph).values() if each.location is not None]
    assert located
    for each in located:
        found = values_of(document, each)
        assert found is not None and found.shape == each.shape
        numpy.testing.assert_array_equal(numpy.sort(found.ravel()), numpy.sort(pattern(each)))


def pattern(stored: StoredTensor) -> numpy.ndarray:
    """What onnx_files puts into its tensors: 1 to 97 again and again, and counting in typed ones."""
    count = math.prod(stored.shape)
    counting = stored.name in ("typed", "double", "half")
    return (numpy.arange(count) if counting else numpy.arange(count) % 97 + 1).astype(stored.dtype)


def test_bodies_with_the_same_names_keep_their_own_values(tmp_path: Path) -> None:
    document = open_document(files.save(files.everywhere(), tmp_path / "net.onnx"))
    choice = next(node for node in document.graph.nodes if node.op_type == "If")
    offsets = {body.stored["inner"].location for body in choice.subgraphs.values()}
    assert len(offsets) == 2 and None not in offsets
    assert "inner" not in document.locations and "weight" in document.locations


def test_external_data_is_found_and_small_parts_of_it_are_read(tmp_path: Path) -> None:
    made = files.plain()
    path = files.with_external(made, tmp_path / "net.onnx")
    document = open_document(path)
    location = document.locations["two.weight"]
    assert (Path(location.file).name, location.offset, location.length) == ("weights.bin", 4 * 32 * 33, 4096)
    assert "one.bias" in document.graph.constants, "128 bytes are kept"
    numpy.testing.assert_array_equal(
        values_of(document, document.stored["two.weight"]), numpy_helper.to_array(files.stored("", 32, 32))
    )


def test_functions_stand_in_the_place_of_their_calls(tmp_path: Path) -> None:
    document = open_document(files.save(files.with_functions(), tmp_path / "net.onnx"))
    assert [node.op_type for node in document.graph.nodes] == ["MatMul", "Relu"] * 2
    assert len({node.name for node in document.graph.nodes}) == 4
    assert len(document.locations) == 2 and len(set(document.locations.values())) == 1
    assert document.notes == ("Its 2 functions stand in the place of their calls.",)


def _with_function_of(opset: int, nodes: list[onnx.NodeProto], own: int = 17) -> onnx.ModelProto:
    """A model of operator set ``own`` that calls a function of ``opset`` between two others, with shapes written in."""
    made = files.model(
        [
            helper.make_node("Relu", ["x"], ["h"], "/first/Relu"),
            helper.make_node("F", ["h"], ["k"], "/block/F", domain="local"),
            helper.make_node("Relu", ["k"], ["y"], "/last/Relu"),
        ],
        outputs=[files.value("y", ["batch", "columns"])],
        functions=[files.function("F", nodes, opset=opset)],
        domains=(("", own), ("local", 1)),
    )
    made.graph.value_info.append(files.value("h", ["batch", 32]))
    return made


@pytest.mark.parametrize("opset", [16, 13, 9])
def test_functions_of_another_operator_set_stand_in_the_place_of_their_calls(
    opset: int, tmp_path: Path
) -> None:
    weight = helper.make_node("Constant", [], ["w"], "weight", value=files.stored("", 32, 32))
    nodes = [weight, helper.make_node("MatMul", ["a", "w"], ["t"]), helper.make_node("Relu", ["t"], ["b"])]
    path = files.save(_with_function_of(opset, nodes), tmp_path / "net.onnx")
    document = open_document(path)
    assert [node.op_type for node in document.graph.nodes] == ["Relu", "MatMul", "Relu", "Relu"]
    assert document.notes == ("Its 1 function stands in the place of their calls.",)
    # What the file says of shapes stays; nothing that holds at one size only is added.
    assert [each.name for each in document.model.graph.value_info] == ["h"]
    assert document.model.graph.output == onnx.load(path).graph.output
    session = OnnxSession(load(path))
    totals = session.analyze(session.default_configuration()).totals
    assert totals.macs == 32 * 32
    assert totals.params == 32 * 32


def test_nodes_of_a_function_become_those_of_the_model_s_operator_set(tmp_path: Path) -> None:
    nodes = [helper.make_node("ReduceSum", ["a"], ["b"], axes=[1], keepdims=1)]
    document = open_document(files.save(_with_function_of(11, nodes), tmp_path / "net.onnx"))
    reduced = next(node for node in document.graph.nodes if node.op_type == "ReduceSum")
    # Since set 13 the axes are an input.
    assert len(reduced.inputs) == 2 and "axes" not in reduced.attributes
    onnx.checker.check_model(document.model)


def test_functions_that_cannot_be_converted_stay_calls_and_are_named(tmp_path: Path) -> None:
    nodes = [helper.make_node("LayerNormalization", ["a", "a"], ["b"])]
    made = _with_function_of(17, nodes, own=9)
    path = files.save(made, tmp_path / "net.onnx")
    document = open_document(path)
    assert [node.label for node in document.graph.nodes] == ["Relu", "local.F", "Relu"]
    assert "custom domain" not in load(path).info.note
    assert document.notes == (
        "Its 1 function local.F is written for operator set 17, cannot be converted to the model's, 9, and is not"
        " counted: export the model again with one operator set.",
    )


def test_every_node_has_a_name_of_its_own(tmp_path: Path) -> None:
    names = ["same", "same", "", "same_2", "a\u202eb\nc", "x" * 2_000]
    nodes = [
        helper.make_node("Relu", [f"v{index}" if index else "x"], [f"v{index + 1}"], name)
        for index, name in enumerate(names)
    ]
    made = files.model(nodes, outputs=[files.value(f"v{len(names)}", None)])
    document = open_document(files.save(made, tmp_path / "net.onnx"))
    found = [node.name for node in document.graph.nodes]
    assert found == ["same", "same_2", "Relu_2", "same_2_2", "a\ufffdb c", "x" * 500]
    assert [node.name for node in document.model.graph.node] == found, (
        "the graph that is saved and run has them too"
    )
    paths = [node.path for node in document.graph.nodes]
    assert len(set(paths)) == len(paths)


def test_nodes_in_any_order_are_sorted(tmp_path: Path) -> None:
    made = files.everywhere()
    nodes = list(made.graph.node)[::-1]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del made.graph.node[:]
    made.graph.node.extend(copies)
    document = open_document(files.save(made, tmp_path / "net.onnx"))
    known = {"x", *document.graph.stored}
    for node in document.graph.nodes:
        assert known.issuperset(node.inputs)
        known.update(node.outputs)
    assert document.notes == ("Its nodes were not in an order in which they can run, and were sorted.",)


def test_attributes_without_a_type_are_those_of_the_first_files(tmp_path: Path) -> None:
    node = helper.make_node("Concat", ["x", "x"], ["y"], "join", axis=1)
    node.attribute[0].ClearField("type")
    document = open_document(files.save(files.model([node]), tmp_path / "net.onnx"))
    assert document.graph.nodes[0].attributes == {"axis": 1}


# -- what the content says ------------------------------------------------------------------------------------------


def listed(made: onnx.ModelProto, tmp_path: Path) -> Contents:
    contents = read(files.save(made, tmp_path / "listed.onnx"))
    assert describe(contents).startswith("listed.onnx is an ONNX model (ONNX IR 10, ")
    return contents


def test_a_listing_tells_operators_tensors_and_inputs(tmp_path: Path) -> None:
    made = files.everywhere()
    made.producer_name, made.producer_version = "pytorch", "2.15"
    helper.set_model_props(made, {"author": "somebody"})
    contents = listed(made, tmp_path)
    assert contents.kind == "onnx" and contents.producer == "pytorch 2.15"
    assert contents.opsets == (("ai.onnx", 17), ("com.acme", 1))
    assert contents.metadata == (("author", "somebody"),)
    counts = {each.name: each.count for each in contents.operations}
    assert counts == {"Constant": 2, "MatMul": 7, "Cast": 2, "If": 1, "com.acme.Custom": 1, "Add": 1}
    assert [(each.name, each.dtype, each.shape) for each in contents.inputs] == [
        ("x", "float32", ("batch", 32))
    ]
    assert [(group.path, group.role, group.tensors) for group in contents.groups] == [
        ("", "model", 5), ("constants", "constants", 1), ("subgraphs", "model", 3),
    ]  # fmt: skip
    shapes = dict(zip(contents.tensors.name, contents.tensors.shape, strict=True))
    assert shapes["sparse"] == (32, 32) and shapes["yes"] == ()
    assert contents.notes == (
        "It has operators of custom domains, of which nothing is loaded: com.acme (1).",
    )


def test_a_listing_tells_functions_and_external_files(tmp_path: Path) -> None:
    contents = listed(files.with_functions(), tmp_path)
    assert [(each.name, each.count) for each in contents.functions] == [
        ("local.Inner", 0),
        ("local.Outer", 2),
    ]
    path = files.with_external(files.plain(), tmp_path / "outside.onnx")
    outside = read(path)
    assert [(each.name, each.size, each.packed) for each in outside.external] == [("weights.bin", 8320, 8320)]
    assert outside.size == path.stat().st_size + 8320
    assert outside.tensors.storage == ("weights.bin@0", "weights.bin@4096", "weights.bin@4224")
    (tmp_path / "weights.bin").unlink()
    assert "which is not there" in read(path).notes[0]


@pytest.mark.parametrize("order", [(7, 8, 1), (8, 7, 1), (1, 7, 8), (7,)])
def test_a_model_is_known_by_its_content(order: tuple[int, ...], tmp_path: Path) -> None:
    """The fields of a message may come in any order, and ``ir_version`` may be absent."""
    made = files.plain()
    parts = {
        1: onnx.ModelProto(ir_version=10),
        7: onnx.ModelProto(graph=made.graph),
        8: onnx.ModelProto(opset_import=made.opset_import),
    }
    path = tmp_path / "weights.bin"
    path.write_bytes(b"".join(parts[number].SerializeToString() for number in order))
    with open_file(path) as region:
        assert identify(region) == "onnx"
    assert onnx_path(str(path)) == path
    model = open_model(str(path), LoadOptions())
    if 8 in order:  # what Gemm is depends on the operator set
        assert model.analyze(model.default_configuration()).totals.macs == 2 * 32 * 32


def test_other_files_called_onnx_are_not(tmp_path: Path) -> None:
    """An input of a test case of ONNX is a tensor; a Core ML model begins like a model of ONNX."""
    path = tmp_path / "net.onnx"
    for content in (files.stored("x", 3, 4).SerializeToString(), b"\x08\x04\x12\x02\x0a\x00\x52\x02\x08\x01"):
        path.write_bytes(content)
        assert onnx_path(str(path)) is None
        with pytest.raises(LoadError, match=r"net\.onnx is none of the kinds"):
            open_model(str(path), LoadOptions())


def test_one_model_in_a_folder_opens_it(tmp_path: Path) -> None:
    path = files.with_external(files.plain(), tmp_path / "net.onnx", "net.onnx.data")
    assert onnx_path(str(tmp_path)) == path
    assert onnx_path(f"{path}@torchvision:resnet18") is None and onnx_path(f"{path}#part") is None
    with pytest.raises(UnsupportedModelError, match="needs no architecture"):
        open_model(f"{path}@torchvision:resnet18", LoadOptions())


def test_what_the_user_must_know_is_noted(tmp_path: Path) -> None:
    made = files.everywhere()
    made.opset_import[0].version = 99
    loaded = load(files.save(made, tmp_path / "model.onnx"))
    assert loaded.info.name == "made", "model.onnx says nothing"
    assert loaded.info.sha256 is not None and loaded.info.format == "onnx"
    assert "custom domains are not counted, and nothing of them is loaded: com.acme (1)." in loaded.info.note
    assert "those of set 99" in loaded.info.note
    quantised = load(files.save(files.quantised(), tmp_path / "net.onnx")).info
    assert quantised.name == "net" and quantised.note.startswith("It is quantised: values are dequantised")
    hollow = files.plain()
    hollow.graph.initializer[0].ClearField("raw_data")
    note = load(files.save(hollow, tmp_path / "hollow.onnx")).info.note
    assert note == "1 tensor has no values in the file, so that it cannot be run: one.weight."


# -- zeros ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution and a linear layer with known zeros in their weights."""
    net = randomised(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 6 * 6, 10)))
    with torch.no_grad():
        net[0].weight[:2] = 0.0
        net[2].weight[:, ::3] = -0.0
    path = tmp_path_factory.mktemp("pruned") / "net.onnx"
    return export(net, (torch.rand(1, 3, 6, 6),), path)


def test_zeros_in_the_weights_are_counted_where_they_lie(pruned: Path) -> None:
    model = open_model(str(pruned), LoadOptions())
    before = model.analyze(model.default_configuration())
    assert model.counts_zeros and not before.is_weighed
    steps = sum(1 for _ in model.count_zeros(Event()))
    assert steps >= 4
    after = model.kept(before.configuration)
    assert after is not None and after.is_weighed
    in_convolution, in_linear = 2 * 3 * 9, 10 * 96
    assert after.totals.zeros == in_convolution + in_linear
    convolution, linear = 8 * 27 * 36, 10 * 288
    assert after.totals.macs == convolution + linear
    assert after.totals.nonzero_macs == convolution * 6 // 8 + linear * 2 // 3


@pytest.mark.parametrize(
    "dtype", ["float16", "bfloat16", "float8_e4m3fn", "int8", "int4", "uint2", "float4_e2m1"]
)
def test_zeros_of_every_element_type(dtype: str, tmp_path: Path) -> None:
    """3,001 elements, of which every third is 0: an odd number, so that the last byte is filled up."""
    number = NUMBERS[dtype]
    values = numpy.where(numpy.arange(3_001) % 3, 1, 0)
    tensor = helper.make_tensor("w", number, [3_001], values.astype(numpy.float32))
    raw = numpy_helper.from_array(numpy_helper.to_array(tensor), "w")
    made = files.model([helper.make_node("Identity", ["w"], ["y"])], [raw])
    document = open_document(files.save(made, tmp_path / "net.onnx"))
    assert counted(document, "w") == 1_001
    array = values_of(document, document.stored["w"])
    assert array is not None and array.shape == (3_001,)


def counted(document: Document, name: str) -> int:
    return dict(count_zeros(document, [name], Event()))[name]
