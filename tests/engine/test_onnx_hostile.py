"""ONNX files that are damaged, huge or made to hurt: each is opened or refused in a sentence, nothing else happens."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from engine.errors import EngineError, LoadError
from engine.files import describe, read
from engine.files.limits import Budget
from engine.files.onnx_outline import outline
from engine.files.protobuf import BYTES, FIXED32, FIXED64, VARINT, Messages, message, signed, varint
from engine.files.regions import Region
from engine.loaders.options import LoadOptions
from engine.onnx.document import open_document
from engine.onnx.tidy import MAX_GRAPHS
from engine.open_model import FailedAnalysisError
from engine.opening import open_model
from engine.protocol import Failed, Open, Opened
from engine.results import Analysis
from tests.conftest import DAY, EVERYTHING, sampled
from tests.engine import onnx_files as files
from tests.engine.model_files import attempt as listing
from tests.engine.test_files_damaged import damaged
from tests.engine.test_onnx_documents import as_raw
from tests.engine.test_server import Engine

FLOAT64 = TensorProto.DOUBLE
DAMAGED = 500
ROOT = Path(__file__).parents[2]
_UNHURRIED: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}
FUZZ = settings(max_examples=1_000 if EVERYTHING else 60, derandomize=not EVERYTHING, **_UNHURRIED)
FUZZ_S = 600


def attempt(path: Path) -> Analysis | EngineError:
    """What opening and analysing ``path`` gives; any other exception fails the test."""
    try:
        model = open_model(str(path), LoadOptions())
        result: Analysis | EngineError = model.analyze(model.default_configuration())
    except FailedAnalysisError as failed:
        result = failed.error
    except EngineError as error:
        result = error
    if isinstance(result, EngineError):
        assert result.message.endswith((".", "?")) and "Traceback" not in result.message
    listed = listing(path)
    if isinstance(listed, LoadError):
        assert listed.message.endswith(".") and listed.file == str(path)
    else:
        assert describe(listed)
    return result


def refused(made: onnx.ModelProto, path: Path, *words: str) -> None:
    """``made`` is not opened, and the sentence has the words."""
    result = attempt(files.save(made, path / "net.onnx"))
    assert isinstance(result, LoadError), result
    assert result.file == str(path / "net.onnx") and result.hint
    for word in words:
        assert word in result.message


@pytest.fixture(scope="module")
def whole() -> list[bytes]:
    return [make().SerializeToString() for make in files.MADE.values()]


def some(whole: list[bytes], seed: int) -> bytes:
    rng = random.Random(seed)
    return damaged(rng.choice(whole), rng)


def test_damaged_files_give_sentences(tmp_path: Path, whole: list[bytes]) -> None:
    results = []
    for seed in sampled(range(DAMAGED), 120, "damaged onnx"):
        path = tmp_path / "net.onnx"
        path.write_bytes(some(whole, seed))
        results.append(attempt(path))
    errors = sum(isinstance(each, EngineError) for each in results)
    assert 0.3 * len(results) < errors < len(results), "some damage is in the weights, most is not"


def test_damaged_files_do_not_upset_the_engine(tmp_path: Path, whole: list[bytes]) -> None:
    engine = Engine()
    try:
        for seed in sampled(range(DAMAGED), 25, "engine onnx"):
            path = tmp_path / f"{seed}.onnx"
            path.write_bytes(some(whole, seed))
            engine.send(Open(seed, str(path)))
            answer = engine.until((Opened, Failed), lambda event, seed=seed: event.id == seed)  # type: ignore[arg-type]
            assert isinstance(answer, Opened) or answer.error.kind != "bug", answer
        sound = files.save(files.plain(), tmp_path / "sound.onnx")
        engine.send(Open(DAMAGED, str(sound)))
        assert engine.until(Opened).model.name == "sound"
        assert engine.close() == 0
    finally:
        engine.process.kill()
        engine.process.wait()


def test_what_is_no_file_with_a_model(tmp_path: Path) -> None:
    empty = tmp_path / "empty.onnx"
    empty.touch()
    folder = tmp_path / "folder.onnx"
    folder.mkdir()
    for path, words in (
        (empty, "is empty"),
        (folder, "holds no model"),
        (tmp_path / "gone.onnx", "There is no file"),
    ):
        result = attempt(path)
        assert isinstance(result, LoadError) and words in result.message
        with pytest.raises(LoadError):
            open_document(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="everything may be read here")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = files.save(files.plain(), tmp_path / "net.onnx")
    path.chmod(0)
    result = attempt(path)
    assert isinstance(result, LoadError) and "permission denied" in result.message


# -- external data --------------------------------------------------------------------------------------------------

OUTSIDE = (
    "/etc/passwd", "../secret", "sub/../../secret", "..\\secret", "C:\\secret", "C:secret", "\\\\host\\share\\secret",
    "/dev/zero", "a\0b", "",
)  # fmt: skip


def referring(location: str, offset: int | str = 0, length: int | str = 4096) -> onnx.ModelProto:
    made = files.plain()
    weight = made.graph.initializer[0]
    weight.ClearField("raw_data")
    files.refer(weight, location, offset, length)
    return made


@pytest.mark.parametrize("location", OUTSIDE)
def test_external_data_stays_in_the_folder(location: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(4096))
    folder = tmp_path / "models"
    folder.mkdir()
    refused(referring(location), folder, "its tensor one.weight is in ")


def links(tmp_path: Path) -> Iterator[tuple[str, Callable[[Path], None]]]:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(bytes(4096))
    yield "data", lambda folder: (folder / "data").symlink_to(outside / "secret")
    yield "sub/secret", lambda folder: (folder / "sub").symlink_to(outside, target_is_directory=True)
    yield "twice", lambda folder: (folder / "twice").symlink_to(folder / "data")


def test_links_do_not_lead_external_data_out_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    for location, link in links(tmp_path):
        try:
            link(folder)
        except OSError:
            pytest.skip("no symbolic links here")
        refused(
            referring(location), folder, f"is in {location}, a link that leads out of the model's folder."
        )


def test_a_cache_of_links_is_a_folder_of_files(tmp_path: Path) -> None:
    """As Hugging Face's cache has it: the model and its data are links to files that lie together."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    files.with_external(files.plain(), blobs / "hash1", "hash2")
    made = onnx.load(blobs / "hash1", load_external_data=False)
    for tensor in made.graph.initializer:
        tensor.external_data[0].value = "net.onnx.data"
    files.save(made, blobs / "hash1")
    try:
        (snapshot / "net.onnx").symlink_to(blobs / "hash1")
        (snapshot / "net.onnx.data").symlink_to(blobs / "hash2")
    except OSError:
        pytest.skip("no symbolic links here")
    assert isinstance(attempt(snapshot / "net.onnx"), Analysis)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders here")
def test_pipes_and_folders_are_no_data(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for location in ("pipe", "folder"):
        refused(referring(location), tmp_path, f"is in {location}, which is no regular file.")


EXTENTS: tuple[tuple[int | str, int | str, str], ...] = (
    ("-1", 4096, "has the offset -1"),
    (0, "-4096", "has the length -4096"),
    ("1e3", 4096, "has the offset 1e3"),
    (0, "9" * 30, "has the length 99"),
    ("²", 4096, "has the offset ²"),
    (1, 4096, "is at bytes 1 to 4,097 of data, which has 4,096."),
    (2**63 - 1, 4096, "which has 4,096."),
    (0, 4000, "should have 4,096 bytes, and its length in data is 4,000."),
)


@pytest.mark.parametrize(("offset", "length", "words"), EXTENTS)
def test_external_data_is_inside_its_file(
    offset: int | str, length: int | str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "data").write_bytes(bytes(4096))
    refused(referring("data", offset, length), tmp_path, "its tensor one.weight", words)
    refused(referring("gone"), tmp_path, "is in gone, which is not there.")
    # What onnxruntime takes for an address in its own memory is a file that is not there.
    refused(referring("*/_ORT_MEM_ADDR_/*", 2**40), tmp_path, "which is not there.")


# -- shapes and graphs that nobody has ------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2**62, 2**62), (-1, 4), (2**31, 2**31, 2**31), (1,) * 70])
def test_shapes_that_memory_cannot_have(shape: tuple[int, ...], tmp_path: Path) -> None:
    made = files.plain()
    made.graph.initializer[0].dims[:] = shape
    refused(made, tmp_path, "its tensor one.weight has the shape ", "which memory cannot have.")


def test_shapes_and_values_that_do_not_fit(tmp_path: Path) -> None:
    made = files.plain()
    made.graph.initializer[0].dims[:] = (10**15,)
    refused(made, tmp_path, "its tensor one.weight should have 4,000,000,000,000,000 bytes")
    made = files.plain()
    made.graph.initializer[1].dims[:] = (31,)
    refused(made, tmp_path, "its tensor one.bias has 128 bytes of values, where its shape takes 124.")
    made = files.model(files.plain().graph.node, inputs=[files.value("x", [2**40, 2**40])])
    refused(made, tmp_path, "its input x of 1099511627776×1099511627776 is too large for any machine.")


def stored_sizes(*sizes: int) -> list[TensorProto]:
    return [
        numpy_helper.from_array(numpy.array(sizes, numpy.int64), "sizes"),
        numpy_helper.from_array(numpy.array(10**15, numpy.int64), "limit"),
        numpy_helper.from_array(numpy.array(1, numpy.int64), "one"),
    ]


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("ConstantOfShape", ["sizes"], ["z"]),
        helper.make_node("Expand", ["x", "sizes"], ["z"]),
        helper.make_node("Range", ["one", "limit", "one"], ["z"]),
        helper.make_node("Tile", ["sizes", "limit"], ["z"]),
    ],
    ids=lambda node: node.op_type,
)
def test_small_files_with_huge_values(node: onnx.NodeProto, tmp_path: Path) -> None:
    made = files.model([node, helper.make_node("Identity", ["z"], ["y"])], stored_sizes(10**8, 10**7))
    attempt(files.save(made, tmp_path / "net.onnx"))


def branch(name: str, graph: bytes) -> bytes:
    """An attribute with a graph."""
    return message(5, message(1, name.encode()) + message(6, graph) + varint(20 << 3) + varint(5))


def nested(depth: int) -> bytes:
    """An If in an If, written byte by byte: protobuf's own writer refuses what its reader would."""
    result = message(12, message(1, b"r"))
    graph = other = message(1, message(4, b"Relu") + message(1, b"x") + message(2, b"r")) + result
    for _ in range(depth):
        head = message(4, b"If") + message(1, b"x") + message(2, b"r")
        graph = message(1, head + branch("then_branch", graph) + branch("else_branch", other)) + result
    given = message(11, files.value("x", ["batch", 8]).SerializeToString())
    return varint(1 << 3) + varint(10) + message(7, graph + given) + message(8, varint(2 << 3) + varint(17))


@pytest.mark.parametrize("depth", [MAX_GRAPHS - 1, MAX_GRAPHS, 60, 1_000])
def test_graphs_in_graphs(depth: int, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(nested(depth))
    result = attempt(path)
    if depth < MAX_GRAPHS:
        assert isinstance(result, Analysis)
    else:
        assert isinstance(result, LoadError)


def calling(*names: str, domain: str = "local") -> list[onnx.NodeProto]:
    """Calls one after another, from ``a`` to ``b``."""
    between = [f"t{index}" for index in range(len(names) - 1)]
    return [
        helper.make_node(name, [source], [target], domain=domain)
        for name, source, target in zip(names, ["a", *between], [*between, "b"], strict=True)
    ]


def called(functions: list[onnx.FunctionProto], first: str) -> onnx.ModelProto:
    call = helper.make_node(first, ["x"], ["y"], domain="local")
    return files.model([call], functions=functions, domains=(("", 17), ("local", 1)))


def test_functions_that_never_end_or_become_too_many(tmp_path: Path) -> None:
    itself = [files.function("F", calling("F"))]
    refused(called(itself, "F"), tmp_path, "its function F calls itself, so it never ends.")
    each_other = [files.function("F", calling("G")), files.function("G", calling("F"))]
    refused(called(each_other, "F"), tmp_path, "calls itself, so it never ends.")
    tenfold = [files.function(f"F{level}", calling(*[f"F{level + 1}"] * 10)) for level in range(12)]
    tenfold.append(files.function("F12", calling("Relu", domain="")))
    refused(
        called(tenfold, "F0"),
        tmp_path,
        "its functions, put in the place of their calls, would be more than 500,000",
    )
    chain = [files.function(f"F{level}", calling(f"F{level + 1}")) for level in range(800)]
    chain.append(files.function("F800", calling("Relu", domain="")))
    attempt(files.save(called(chain, "F0"), tmp_path / "chain.onnx"))


def test_control_flow_without_its_body(tmp_path: Path) -> None:
    made = files.everywhere()
    choice = next(node for node in made.graph.node if node.op_type == "If")
    del choice.attribute[[each.name for each in choice.attribute].index("else_branch")]
    refused(made, tmp_path, "its If choice lacks its else_branch.")


def test_nodes_without_what_their_operator_needs(tmp_path: Path) -> None:
    """onnx's shape inference ends the process for some of these, or counts to a thousand million."""
    classic = (("", 17), ("ai.onnx.ml", 4))
    encoder = helper.make_node("LabelEncoder", [""], ["y"], "labels", domain="ai.onnx.ml", keys_strings=["a"])
    refused(
        files.model([encoder], domains=classic), tmp_path, "its node labels (LabelEncoder) lacks its input X."
    )
    refused(
        files.model([helper.make_node("MatMul", ["x"], ["y"], "p")]), tmp_path, "(MatMul) lacks its input B."
    )
    many = helper.make_node("Split", ["x"], ["y"], "parts", num_outputs=10**9)
    refused(files.model([many], domains=(("", 18),)), tmp_path, "has 1,000,000,000 as its num_outputs")
    unknown = helper.make_node("Custom", ["x"], ["z"], domain="com.acme")
    after = helper.make_node("RegexFullMatch", ["z"], ["y"], "matches", pattern="a")
    path = files.save(
        files.model([unknown, after], domains=(("", 20), ("com.acme", 1))), tmp_path / "net.onnx"
    )
    result = attempt(path)
    assert isinstance(result, Analysis) and result.coverage.counted_calls == 0


def test_a_long_input_of_one_dimension_costs_no_more(tmp_path: Path) -> None:
    """onnx's data propagation would write out a placeholder for each of its elements."""
    nodes = [helper.make_node("Cast", ["x"], ["c"], to=FLOAT64), helper.make_node("Add", ["c", "c"], ["y"])]
    made = files.model(nodes, inputs=[files.value("x", [10**9])])
    result = attempt(files.save(made, tmp_path / "net.onnx"))
    assert isinstance(result, Analysis) and result.totals.flops == 10**9


def test_nodes_that_wait_for_one_another(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["b"], "second"),
        helper.make_node("Relu", ["b"], ["y"], "third"),
    ]
    refused(files.model(nodes), tmp_path, "its node first waits for a value that is made from its own.")


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """protobuf hands out bytes where text should be."""
    for field in ("/one/Gemm", "one.weight", "batch"):
        data = files.plain().SerializeToString()
        assert field.encode() in data
        path = tmp_path / "net.onnx"
        path.write_bytes(data.replace(field.encode(), b"\xff" * len(field)))
        result = attempt(path)
        assert isinstance(result, LoadError) and "a name that is no text" in result.message


# -- large ----------------------------------------------------------------------------------------------------------

LAYERS, WIDTH = 48, 8_192
MEASURE = """
    import json, os, resource, sys
    from engine.loaders.options import LoadOptions
    from engine.opening import open_model
    model = open_model(sys.argv[1], LoadOptions())
    result = model.analyze(model.default_configuration())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if os.path.exists("/proc/self/status"):
        # Linux hands the peak of the process that started this one on to it.
        lines = open("/proc/self/status").read().splitlines()
        peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    read = 0
    if os.path.exists("/proc/self/io"):
        read = next(int(line.split()[1]) for line in open("/proc/self/io") if line.startswith("rchar"))
    print(json.dumps([result.totals.params, result.totals.weight_bytes, peak, read]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
def test_twelve_gigabytes_of_weights_are_not_read(tmp_path: Path) -> None:
    """Sparse external data of 12 GiB: opened and analysed in a process of its own, whose memory is looked at."""
    size = 4 * WIDTH * WIDTH
    data = tmp_path / "large.data"
    with data.open("wb") as file:
        file.truncate(LAYERS * size)
    if data.stat().st_blocks * 512 > size:
        pytest.skip("files are not sparse here")
    tensors, nodes = [], []
    for layer in range(LAYERS):
        tensor = TensorProto(name=f"layers.{layer}.weight", data_type=TensorProto.FLOAT, dims=[WIDTH, WIDTH])
        files.refer(tensor, data.name, layer * size, size)
        tensors.append(tensor)
        source, target = f"v{layer}" if layer else "x", f"v{layer + 1}" if layer < LAYERS - 1 else "y"
        nodes.append(helper.make_node("MatMul", [source, tensor.name], [target], f"/layers.{layer}/MatMul"))
    made = files.model(nodes, tensors, inputs=[files.value("x", ["batch", WIDTH])])
    path = files.save(made, tmp_path / "large.onnx")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEASURE), str(path)], cwd=ROOT, capture_output=True, check=True
    )
    params, weight_bytes, peak, bytes_read = json.loads(done.stdout)
    assert params == LAYERS * WIDTH * WIDTH and weight_bytes == 12 * 2**30
    assert peak < 2**30 and bytes_read < 2**30


NODES = 100_000 if EVERYTHING else 5_000
WAYS: dict[str, Callable[[int], tuple[str, str, str]]] = {
    "a chain in scopes": lambda i: (f"/block.{i // 100}/layer.{i % 100}/Relu", f"v{i}", f"v{i + 1}"),
    "names that are all the same": lambda i: ("same", f"v{i}", f"v{i + 1}"),
    "no names": lambda i: ("", f"v{i}", f"v{i + 1}"),
    "side by side": lambda i: ("", "v0", f"v{i + 1}"),
    "backwards": lambda i: ("", f"v{NODES - 1 - i}", f"v{NODES - i}"),
}
"""What there is much of → name, input and output of the node at that place."""


@pytest.mark.parametrize("way", WAYS)
def test_graphs_of_very_many_nodes(way: str, tmp_path: Path) -> None:
    made = [WAYS[way](index) for index in range(NODES)]
    nodes = [helper.make_node("Relu", [source], [target], name) for name, source, target in made]
    graph = files.model(
        nodes, inputs=[files.value("v0", ["batch", 8])], outputs=[files.value(f"v{NODES}", None)]
    )
    path = files.save(graph, tmp_path / "net.onnx")
    model = open_model(str(path), LoadOptions())
    result = model.analyze(model.default_configuration())
    assert len(result.layers) == NODES and len(set(result.layers.id)) == NODES
    assert result.totals.flops == 8 * NODES
    assert sum(each.count for each in read(path).operations) == NODES


# -- our own readers, with whatever comes ---------------------------------------------------------------------------

WIRES = st.one_of(
    st.tuples(st.just(VARINT), st.integers(-(2**63), 2**63 - 1)),
    st.tuples(st.just(BYTES), st.binary(max_size=300)),
    st.tuples(st.just(FIXED32), st.binary(min_size=4, max_size=4)),
    st.tuples(st.just(FIXED64), st.binary(min_size=8, max_size=8)),
)
FIELDS = st.lists(st.tuples(st.integers(1, 2**28), WIRES), max_size=30)


def region_of(data: bytes) -> Region:
    return Region(io.BytesIO(data), Path("net.onnx"), len(data))


def written(number: int, wire: int, value: int | bytes) -> bytes:
    tag = varint(number << 3 | wire)
    if isinstance(value, int):
        return tag + varint(value % 2**64)
    return tag + (varint(len(value)) if wire == BYTES else b"") + value


@FUZZ
@given(fields=FIELDS)
def test_fields_are_read_as_they_were_written(fields: list[tuple[int, tuple[int, int | bytes]]]) -> None:
    data = b"".join(written(number, wire, value) for number, (wire, value) in fields)
    messages = Messages(region_of(data), Budget())
    found = [
        (field.number, (field.wire, signed(field.value) if field.wire == VARINT else messages.read(field)))
        for field in messages.fields(0, len(data))
    ]
    assert found == fields


@FUZZ
@given(data=st.binary(max_size=200), cut=st.integers(0, 200))
def test_any_bytes_are_fields_or_an_error(data: bytes, cut: int) -> None:
    messages = Messages(region_of(data), Budget())
    end, at = min(cut, len(data)), 0
    fields = messages.fields(0, end)
    while True:
        try:
            field = next(fields, None)
        except LoadError as error:
            assert str(error).startswith("net.onnx cannot be read (at byte ")  # noqa: PT017
            return
        if field is None:
            break
        assert field.start == at and field.body <= field.end <= end
        at = field.end
    assert at == end


@FUZZ
@given(seed=st.integers(0, 2**32))
def test_an_outline_says_what_protobuf_reads(
    seed: int, whole: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Of a damaged file too: what protobuf makes of the outline, with its external data, it makes of the file."""
    data = some(whole, seed)
    path = tmp_path_factory.getbasetemp() / "outlined.onnx"
    path.write_bytes(data)
    expected, short = onnx.ModelProto(), onnx.ModelProto()
    try:
        content = outline(region_of(data), Budget(), path.name)
        expected.ParseFromString(data)
        short.ParseFromString(content)
        external_data_helper.load_external_data_for_model(short, str(path.parent))
        as_raw(short)
        as_raw(expected)
    except Exception:  # refused by one of them, or other external data than ours
        return
    for each in (*short.graph.sparse_initializer, *expected.graph.sparse_initializer):
        each.Clear()
    for each in (*short.functions, *expected.functions):
        each.Clear()
    if not any(tensor.external_data for tensor in external_data_helper._get_all_tensors(expected)):
        assert as_raw(short) == as_raw(expected)


@pytest.mark.skipif(not EVERYTHING, reason="ten minutes each, in make test-all")
@pytest.mark.timeout(FUZZ_S + 300)
@pytest.mark.parametrize("reader", ["contents and document", "outline"])
def test_ten_minutes(
    reader: str, whole: list[bytes], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    end = time.monotonic() + FUZZ_S
    rng = random.Random(f"{DAY} {reader}")
    while time.monotonic() < end:
        seed = rng.getrandbits(32)
        if reader == "outline":
            test_an_outline_says_what_protobuf_reads.hypothesis.inner_test(seed, whole, tmp_path_factory)
        else:
            (tmp_path / "net.onnx").write_bytes(some(whole, seed))
            attempt(tmp_path / "net.onnx")
