"""What onnxruntime is given: the file itself, or an edited graph that reads its weights out of the files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy
import onnx
import pytest
import torch
from torch import nn

from engine.graph import InputShape
from engine.onnx.document import Document, open_document
from engine.onnx.run_model import FOLDER_ENTRY, RunModel, overrides_sizes, run_model, seeded_inputs
from engine.onnx.runtime import onnxruntime
from tests.onnx_models import export, randomised


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution whose weight (4×16×5×5) and a linear layer whose weight (10×4) lie in one file; 8×8 fixed."""
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(16, 4, 5, padding=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)
    )
    return export(
        randomised(layers), (torch.zeros(1, 16, 8, 8),), tmp_path_factory.mktemp("run") / "small.onnx"
    )


def external(path: Path, folder: Path) -> Path:
    """The same model with every tensor outside, in a folder below the model's."""
    (folder / "weights").mkdir(parents=True)
    model = onnx.load(path)
    onnx.save(
        model,
        folder / "outside.onnx",
        save_as_external_data=True,
        location="weights/all.bin",
        size_threshold=0,
    )
    return folder / "outside.onnx"


def outputs(given: RunModel) -> list[numpy.ndarray]:
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    if given.folder:
        options.add_session_config_entry(FOLDER_ENTRY, given.folder)
    session = runtime.InferenceSession(given.model, options, providers=["CPUExecutionProvider"])
    found: list[numpy.ndarray] = session.run(None, seeded_inputs(given.inputs))
    return found


def at(size: int, name: str = "input") -> tuple[InputShape, ...]:
    return (InputShape(name, (1, 16, size, size)),)


def test_a_file_that_nobody_changed_is_run_as_it_is(small: Path) -> None:
    given = run_model(open_document(small), at(8))
    assert given == RunModel(str(small), "", at(8))


@pytest.mark.parametrize("outside", [False, True])
def test_an_edited_graph_runs_with_the_weights_of_the_file(
    small: Path, tmp_path: Path, outside: bool
) -> None:
    path = external(small, tmp_path) if outside else small
    as_it_is = run_model(open_document(path), at(8))
    pointing = run_model(open_document(path), at(8), edited=True)
    assert isinstance(pointing.model, bytes)
    numpy.testing.assert_array_equal(outputs(pointing)[0], outputs(as_it_is)[0])


def test_a_size_that_the_file_fixes_can_be_another(small: Path) -> None:
    document = open_document(small)
    assert overrides_sizes(document.model, at(12)) and not overrides_sizes(document.model, at(8))
    larger = run_model(document, at(12))
    (found,) = outputs(larger)
    assert found.shape == (1, 10)
    with pytest.raises(Exception, match="Got: 12 Expected: 8"):
        outputs(RunModel(str(small), "", at(12)))


def test_weights_that_no_file_has_are_made_the_same_every_time(small: Path) -> None:
    document = open_document(small)
    weight = next(each for each in document.model.graph.initializer if list(each.dims) == [4, 16, 5, 5])
    model = onnx.ModelProto()
    model.CopyFrom(document.model)
    changed = next(each for each in model.graph.initializer if each.name == weight.name)
    changed.ClearField("raw_data")
    changed.dims[:] = (4, 16, 3, 3)
    convolution = next(node for node in model.graph.node if node.op_type == "Conv")
    for attribute in convolution.attribute:
        if attribute.name == "kernel_shape":
            attribute.ints[:] = (3, 3)
    edited = Document(document.path, model, document.graph, document.locations)
    given = run_model(edited, at(8), edited=True, remade={weight.name: 16 * 9})
    assert not changed.HasField("raw_data"), "the document itself has no values of new weights"
    numpy.testing.assert_array_equal(outputs(given)[0], outputs(given)[0])
    made = onnx.load_model_from_string(given.model).graph.initializer
    values = onnx.numpy_helper.to_array(next(each for each in made if each.name == weight.name))
    # Kaiming's variance 1 / fan_in, of 4·16·9 = 576 values.
    assert values.shape == (4, 16, 3, 3) and 0.8 / 144 < values.var() < 1.25 / 144


def test_a_model_that_is_a_link_is_found_where_it_lies(small: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.onnx"
    try:
        link.symlink_to(small)
    except OSError:
        pytest.skip("no symbolic links here")
    shutil.copy(small, tmp_path / "copy.onnx")
    given = run_model(open_document(link), at(8), edited=True)
    expected = outputs(run_model(open_document(tmp_path / "copy.onnx"), at(8)))
    numpy.testing.assert_array_equal(outputs(given)[0], expected[0])


def test_made_up_inputs_have_the_dtype_and_integers_are_valid_indices() -> None:
    made = seeded_inputs((InputShape("x", (2, 3), "float16"), InputShape("tokens", (1, 5), "int64")))
    assert made["x"].dtype == numpy.float16 and made["x"].std() > 0.1
    assert made["tokens"].dtype == numpy.int64 and not made["tokens"].any()
