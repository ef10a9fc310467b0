"""``python main.py contents FILE``: everything the safe reader knows, without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torchvision.models import squeezenet1_1

from engine.cli import main as report
from engine.contents import Contents
from engine.contents_cli import SCHEMA, main
from engine.contents_text import text
from engine.files import read
from tests.engine.model_files import Convolutional, Transformer, build, save_all

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One model in every kind of file."""
    return save_all(tmp_path_factory.mktemp("kinds"), Convolutional)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "net.pt"
    torch.save(squeezenet1_1(num_classes=4).state_dict(), path)
    return path


def columns(printed: str, title: str) -> list[list[str]]:
    """The rows of a section, split at wide gaps."""
    lines = printed.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"{title} ("))
    rows = []
    for line in lines[start + 1 :]:
        if not line:
            break
        rows.append([cell for cell in line.split("  ") if cell])
    return [[cell.strip() for cell in row] for row in rows]


def test_neither_torch_nor_numpy_is_imported(weights: Path) -> None:
    program = (
        "import sys; sys.argv[0] = 'main.py'; from main import main; status = main(['contents', sys.argv[1]]); "
        "assert not {'torch', 'numpy', 'timm'} & set(sys.modules); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(weights)],
        cwd=ROOT, capture_output=True, encoding="utf-8", check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "torchvision:squeezenet1_1(num_classes=4)" in done.stdout


def test_every_tensor_and_total_is_listed(weights: Path) -> None:
    printed = text(read(weights), ())
    state = squeezenet1_1(num_classes=4).state_dict()
    heads, *rows = columns(printed, "Tensors")
    assert heads == ["Name", "Shape", "Dtype", "Bytes"]
    assert [row[0] for row in rows] == list(state)
    assert [row[1] for row in rows] == ["×".join(map(str, tensor.shape)) for tensor in state.values()]
    assert [int(row[3].replace(",", "")) for row in rows] == [4 * tensor.numel() for tensor in state.values()]
    elements = sum(tensor.numel() for name, tensor in state.items() if name.startswith("classifier."))
    assert ["classifier", "2", f"{elements:,}", f"{4 * elements:,}"] in columns(printed, "Totals")


@pytest.mark.parametrize(
    ("kind", "titles"),
    [
        ("state", ["Groups", "Tensors", "Files in the archive"]),
        ("legacy", ["Imports", "Tensors"]),
        ("module", ["Imports", "Calls", "Classes", "Tensors"]),
        ("checkpoint", ["Groups", "Totals", "Imports"]),
        ("script", ["Classes", "Code", "Tensors"]),
        ("exported", ["Inputs", "Operations", "Tensors"]),
        ("safetensors", ["Metadata", "Tensors"]),
    ],
)
def test_each_kind_in_its_sections(kind: str, titles: list[str], files: dict[str, Path]) -> None:
    contents = read(files[kind])
    printed = text(contents, (), fits=False)
    for title in titles:
        assert columns(printed, title)
    assert "Architectures that fit" not in printed
    assert all(line == line.rstrip() for line in printed.splitlines())


def test_columns_stand_below_each_other(files: dict[str, Path]) -> None:
    lines = text(read(files["checkpoint"]), ()).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("Tensors ("))
    head, *rows = lines[start + 1 : lines.index("", start)]
    assert {len(line) for line in (head, *rows)} == {len(head)}
    assert all(line[head.index("Dtype") - 1] == " " for line in rows)


def test_json_is_the_whole_reading(files: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    import msgspec

    assert main([str(files["checkpoint"]), "--json"]) == 0
    listing = json.loads(capfd.readouterr().out)
    assert listing["schema"] == SCHEMA
    assert msgspec.convert(listing["contents"], Contents) == read(files["checkpoint"])
    assert listing["candidates"] == []


def test_weights_of_no_known_architecture_say_so(
    files: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([str(files["state"])]) == 0
    assert "None of torchvision and timm." in capfd.readouterr().out


def test_a_group_is_matched_by_itself(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    module = squeezenet1_1(num_classes=4)
    transformer, _ = build(Transformer)
    path = tmp_path / "two.pt"
    torch.save({"main": transformer.state_dict(), "side": module.state_dict()}, path)
    assert main([f"{path}#side", "--json"]) == 0
    best = json.loads(capfd.readouterr().out)["candidates"][0]
    assert best["source"] == f"{path}@torchvision:squeezenet1_1(num_classes=4)"
    assert main([f"{path}#other"]) == 2
    assert capfd.readouterr().err == ("misnomer: two.pt has no group 'other'. It has: main, side.\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["gone.pt"], "gone.pt"),
        ([], "The following arguments are required: FILE. See: contents --help"),
        (["a", "b"], "Unrecognized arguments: b. See: contents --help"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("misnomer: ") and captured.err.count("\n") == 1
    assert sentence in captured.err


def test_nobody_reads_the_rest(weights: Path) -> None:
    """``| head -1`` ends quietly."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), "contents", str(weights)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(120) == 0


def test_report_names_the_architectures_as_commands(weights: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One sentence, then what to run, the best fit first."""
    assert report([str(weights)]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    sentence, *commands = captured.err.splitlines()
    assert sentence.startswith("misnomer: net.pt is a state dict")
    assert commands[0] == f"  python main.py report '{weights}@torchvision:squeezenet1_1(num_classes=4)'"
    assert all(line.startswith(f"  python main.py report '{weights}@") for line in commands)


def test_names_in_a_file_do_not_act_on_a_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The commands name the group, whose key is whatever the file's author chose."""
    state = squeezenet1_1().state_dict()
    torch.save({"\x1b]0;title\x07\nmisnomer: done": state}, tmp_path / "net.pt")
    assert report([str(tmp_path / "net.pt")]) == 2
    assert report([f"{tmp_path / 'net.pt'}#\x1b[2J"]) == 2
    error = capfd.readouterr().err
    assert "]0;title" in error and "[2J" in error
    assert "\x1b" not in error and "\x07" not in error
    assert [line for line in error.splitlines() if not line.startswith(("  ", "misnomer: net.pt"))] == []
