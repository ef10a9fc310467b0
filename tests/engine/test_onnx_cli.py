"""The command line and engine.analyze on ONNX files: without torch, with edits, saved, compared."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.cli import BAD_REQUEST, OK, _parser, main
from engine.export import FORMATS, read_report
from tests.engine.onnx_text import document, parsed

ROOT = Path(__file__).parents[2]
MACS = 4 * 3 * 3 * 3 * 16 * 16
"""Of the convolution: 4 outputs, 3 inputs, 3×3, at 16×16 positions."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A convolution that keeps the size, a pool that halves it and a mean; height and width are open."""
    weight = numpy.random.default_rng(0).standard_normal((4, 3, 3, 3), dtype=numpy.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["a"], "conv", pads=[1, 1, 1, 1]),
            helper.make_node("MaxPool", ["a"], ["b"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Conv", ["b", "v"], ["c"], "last", pads=[1, 1, 1, 1]),
            helper.make_node("GlobalAveragePool", ["c"], ["y"], "mean"),
        ],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, "height", "width"))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 1, 1))],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(weight[:, :1].repeat(4, 1), "v")],
    )
    file = tmp_path / "tiny.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    return file


def report(
    capsysbinary: pytest.CaptureFixture[bytes], *arguments: str, status: int = OK
) -> tuple[dict[str, Any], str]:
    """(report as JSON, standard error) of a command line."""
    assert main(["report", *arguments, "--format", "json"]) == status
    out, err = capsysbinary.readouterr()
    return json.loads(out) if out else {}, err.decode()


def test_a_file_is_reported_edited_saved_and_compared(
    path: Path, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    size = ("--input", "1x3x16x16")
    before, _ = report(capsysbinary, str(path), *size, "-o", str(tmp_path / "before.json"))
    before = json.loads((tmp_path / "before.json").read_bytes())
    second = 4 * 4 * 3 * 3 * 8 * 8
    assert before["totals"]["macs"] == MACS + second
    assert before["model"]["format"] == "onnx"
    assert before["model"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert before["environment"]["onnx"] == onnx.__version__ and "torch" not in before["environment"]
    saved = tmp_path / "edited.onnx"
    after, said = report(
        capsysbinary,
        str(path),
        *size,
        "--remove",
        "pool",
        "--set",
        "conv.strides=2",
        "--save-model",
        str(saved),
    )
    assert after["totals"]["macs"] == MACS // 4 + second
    assert after["edits"] == [
        {"type": "remove", "layer": "pool"},
        {"type": "set", "layer": "conv", "field": "strides", "value": 2},
    ]
    assert said == f"misnomer: Saved {saved}.\n"
    (tmp_path / "after.json").write_text(json.dumps(after))
    again, _ = report(capsysbinary, str(saved), *size, "--against", str(tmp_path / "before.json"))
    assert again["totals"]["macs"] == after["totals"]["macs"]
    report(capsysbinary, str(path), *size, "--save-model", str(saved), "--fix-sizes")
    dims = onnx.load(saved).graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in dims] == [1, 3, 16, 16]
    # A report that is opened again still has the edits as Python.
    assert read_report(tmp_path / "after.json").python_lines()[-1].startswith("node.attribute.extend")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "conv.stride_x=1"], "conv is a Conv; its stride_x cannot be set. Of this Conv these can:"),
        (["--set", "pool.ceil_mode=yes"], "pool.ceil_mode must be a whole number, not 'yes'."),
        (["--set", "strides=1"], "--set 'strides=1' is not LAYER.FIELD=VALUE."),
        (["--remove", "pol"], "The model has no layer 'pol'. Did you mean pool?"),
        (["--save-model", "{folder}/tiny.onnx"], "tiny.onnx belongs to the model that is open"),
        (["--save-model", "{folder}/tiny.pt"], "tiny.pt does not end in .onnx"),
        (["--fix-sizes"], "--fix-sizes is for the file that --save-model writes. Add --save-model FILE.onnx."),
        (["--assume", "loop=3"], "tiny assumes nothing called 'loop'"),
    ],
)  # fmt: skip
def test_a_bad_request_is_one_sentence(
    path: Path, capsysbinary: pytest.CaptureFixture[bytes], arguments: list[str], words: str
) -> None:
    given = [each.format(folder=path.parent) for each in arguments]
    _, said = report(capsysbinary, str(path), *given, status=BAD_REQUEST)
    assert words in said and said.count("\n") == 1


def test_only_onnx_files_are_saved(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    _, said = report(capsysbinary, "torchvision:resnet18", "--save-model", "x.onnx", status=BAD_REQUEST)
    assert said == (
        "misnomer: --save-model is for ONNX files: nothing else is saved as a model. "
        "The report has the edits as Python.\n"
    )


def test_torch_is_not_imported_for_an_onnx_file(path: Path, tmp_path: Path) -> None:
    script = f"""
import sys
import engine, main
found = engine.analyze({str(path)!r}, {{"x": (1, 3, 16, 16)}})
assert found.totals.macs > 0
for command in (["report", {str(path)!r}, "--remove", "pool", "-o", {str(tmp_path / "r.html")!r}],
                ["contents", {str(path)!r}]):
    assert main.main(command) == 0, command
names = {{name.partition(".")[0] for name in sys.modules}}
print(sorted(names & {{"torch", "torchvision", "onnxruntime", "PySide6"}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_input_that_is_named_keeps_the_dtype_of_the_file(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """As one without a name does; one of several too."""
    text = """agraph (int64[batch,sequence_length] ids, int64[batch,sequence_length] types) => (y) {
        a = Gather(table, ids) b = Gather(table, types) s = Add(a, b) y = MatMul(s, w)
    }"""
    file = document(parsed(text, {"table": (10, 4), "w": (4, 6)}), tmp_path).path
    found, _ = report(capsysbinary, str(file), "--input", "ids=2x16", "--input", "types=2x16")
    assert found["inputs"] == [
        {"name": name, "shape": [2, 16], "dtype": "int64"} for name in ("ids", "types")
    ]
    assert found["totals"]["macs"] == 2 * 16 * 4 * 6


def test_zeros_in_many_weights_are_counted_when_asked_for(
    path: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two convolutions have 3 + 4 inputs, 4 outputs and kernels of 3 × 3; they are not read above the limit."""
    monkeypatch.setattr("engine.api.MOST_LOOKED_AT", 4 * (3 + 4) * 4 * 3 * 3 - 1)
    for options, zeros in (((), None), (("--zeros",), 0), (("--fail-if", "sparsity>50%"), 0)):
        found, _ = report(capsysbinary, str(path), *options)
        assert found["totals"]["zeros"] == zeros, options
    assert main([str(path)]) == OK
    assert "- the zeros in the weights were not looked at" in capsysbinary.readouterr().out.decode()
    monkeypatch.setattr("engine.api.MOST_LOOKED_AT", 4 * (3 + 4) * 4 * 3 * 3)
    found, _ = report(capsysbinary, str(path))
    assert found["totals"]["zeros"] == 0


def test_the_documentation_has_every_option_and_format() -> None:
    usage = (ROOT / "docs" / "report.md").read_text("utf-8").split("```")[1]
    options = {
        flag for action in _parser()._actions for flag in action.option_strings if flag.startswith("--")
    }
    assert set(re.findall(r"--[a-z][a-z-]+", usage)) == options - {"--help", "--output"}
    formats = re.search(r"--format ([^\]]+)\]", usage)
    assert formats is not None and set(formats[1].split("|")) == set(FORMATS)


def test_an_assumption_outside_of_its_range_is_refused(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """The input says where a range begins; below 0 it is longer."""
    text = "agraph (float[4,N] x, int64 start) => (y, z) <int64 five = {5}, int64 one = {1}> "
    text += "{ [found] y = NonZero(x) z = Range(start, five, one) }"
    file = str(document(parsed(text), tmp_path).path)
    size = ("--input", "x=4x2")
    found, _ = report(capsysbinary, file, *size, "--assume", "start=-3", "--assume", "found:NonZero=6")
    assert [each["shape"] for each in found["inputs"]] == [[4, 2], []]
    assert [each["output_shapes"] for each in found["layers"]] == [[[2, 6]], [[8]]]
    _, said = report(capsysbinary, file, *size, "--assume", "found:NonZero=9", status=BAD_REQUEST)
    assert said == (
        "misnomer: agraph: the assumption found:NonZero = 9 is not between 0 and 8."
        " It is: found: elements found by NonZero.\n"
    )


def test_a_layer_may_be_called_by_the_name_of_its_node(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """As other viewers show it."""
    text = """agraph (float[1,3,8,8] x) => (y) {
        [c] a = Conv(x, w) [p] b = MaxPool<kernel_shape = [2, 2]>(a) y = Relu(b)
    }"""
    model = parsed(text, {"w": (4, 3, 3, 3)})
    model.graph.node[0].name, model.graph.node[1].name = "/stem/conv/Conv", "/stem/pool/MaxPool"
    file = str(document(model, tmp_path).path)
    found, _ = report(
        capsysbinary, file, "--remove", "/stem/pool/MaxPool", "--set", "/stem/conv/Conv.strides=2x2"
    )
    same, _ = report(capsysbinary, file, "--remove", "stem.pool", "--set", "stem.conv.strides=2x2")
    assert found["totals"] == same["totals"] and found["edits"] == same["edits"]
    assert found["totals"]["macs"] == 4 * 3 * 9 * 3 * 3
    assert [each["op"] for each in found["layers"]] == ["Conv", "Relu"]


def test_a_mismatch_that_an_edit_causes_is_not_blamed_on_the_input(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    text = "agraph (float[1,3,8,8] x) => (y) { [c] a = Conv(x, w) b = Flatten(a) [head] y = Gemm(b, v) }"
    file = str(document(parsed(text, {"w": (4, 3, 3, 3), "v": (4 * 36, 5)}), tmp_path).path)
    for arguments, hint in (
        (("--set", "c.strides=2x2"), "Undo the last edit: without edits the model takes these inputs."),
        (("--input", "1x3x9x9"), "Choose another input shape"),
        (("--input", "1x3x9x9", "--set", "c.strides=3x3"), "Choose another input shape"),
    ):
        _, said = report(capsysbinary, file, *arguments, status=BAD_REQUEST)
        assert said.startswith("misnomer: head (Gemm)") and hint in said, said
