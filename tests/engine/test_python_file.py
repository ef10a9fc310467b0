"""``file.py:callable``: consent before any code runs, arguments, inputs of every form, folders with an engine.py."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from engine.configuration import Configuration
from engine.errors import ConsentRequiredError, EngineError, LoadError, MissingShapeError
from engine.graph import InputShape
from engine.loaders import load
from engine.loaders.loaded import LoadOptions
from engine.results import Analysis
from engine.session import Session

TRUST = LoadOptions(trust=True)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def analyse(source: str, *inputs: InputShape) -> Analysis:
    session = Session(load(source, TRUST), inputs)
    return session.analyze(Configuration(inputs or session.default_configuration().inputs))


NET = """
    import torch
    from torch import nn
    from pathlib import Path
    Path(__file__).with_suffix(".ran").write_text("x")

    class Net(nn.Module):
        def __init__(self, width=8):
            super().__init__()
            self.conv = nn.Conv2d(3, width, 3)
        def forward(self, x):
            return self.conv(x)

    def build(width=8):
        return Net(width)

    def with_example():
        return Net(), (torch.randn(2, 3, 40, 40),)

    instance = Net(4)
    number = 3
"""


def test_nothing_runs_without_consent(tmp_path: Path) -> None:
    net = write(tmp_path / "net.py", NET)
    with pytest.raises(ConsentRequiredError) as caught:
        load(f"{net}:build", LoadOptions())
    info = caught.value.info()
    assert info.kind == "consent"
    assert len(info.digest) == 64
    text = "\n".join(info.details)
    assert "Calls build in net.py" in text
    assert "pathlib, torch" in text
    assert "write_text" in text
    assert not net.with_suffix(".ran").exists()
    assert analyse(f"{net}:build").totals.macs == 8 * 222 * 222 * 27
    assert net.with_suffix(".ran").exists()


def test_consent_is_for_this_content_and_what_it_imports(tmp_path: Path) -> None:
    write(tmp_path / "blocks.py", "from torch import nn\nBlock = nn.ReLU\n")
    net = write(tmp_path / "net.py", "import blocks\ndef build():\n    return blocks.Block()\n")
    with pytest.raises(ConsentRequiredError) as first:
        load(f"{net}:build", LoadOptions())
    assert "blocks.py" in "\n".join(first.value.details)
    agreed = LoadOptions(trust=True, digest=first.value.digest)
    write(tmp_path / "blocks.py", "from torch import nn\nBlock = nn.GELU\n")
    with pytest.raises(ConsentRequiredError, match="has changed since you agreed"):
        load(f"{net}:build", agreed)


@pytest.mark.parametrize(
    ("call", "params"),
    [
        ("build", 8 * 28),
        ("build(16)", 16 * 28),
        ("build(width=2)", 2 * 28),
        ("Net", 8 * 28),
        ("instance", 4 * 28),
    ],
)
def test_callables(tmp_path: Path, call: str, params: int) -> None:
    net = write(tmp_path / "net.py", NET)
    assert analyse(f"{net}:{call}").totals.params == params


def test_example_inputs_give_the_default(tmp_path: Path) -> None:
    net = write(tmp_path / "net.py", NET)
    analysis = analyse(f"{net}:with_example")
    assert analysis.configuration.inputs == (InputShape("x", (2, 3, 40, 40)),)
    assert analysis.model.note == ""
    guessed = analyse(f"{net}:build")
    assert guessed.configuration.inputs == (InputShape("x", (1, 3, 224, 224)),)
    assert "guessed" in guessed.model.note


INPUTS = """
    import torch
    from torch import nn

    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(100, 16)
            self.mix = nn.Linear(16, 16)
        def forward(self, tokens, features=None, *, mask=None, scale=1.0):
            x = self.mix(self.embed(tokens))
            if features is not None:
                x = x + self.mix(features["a"]) + features["more"][0] * scale
            if mask is not None:
                x = x.masked_fill(mask.unsqueeze(-1), 0.0)
            return {"out": x}

    def everything():
        t = torch.zeros(2, 7, dtype=torch.long)
        f = {"a": torch.randn(2, 7, 16), "more": [torch.randn(2, 7, 16), "text"]}
        return Pair(), (t, f), {"mask": torch.zeros(2, 7, dtype=torch.bool), "scale": 2.0}

    def keywords():
        return Pair(), {"tokens": torch.zeros(2, 7, dtype=torch.long)}

    def silent():
        class Two(nn.Module):
            def forward(self, a, b):
                return a @ b
        return Two()
"""


def test_several_integer_dict_and_keyword_inputs(tmp_path: Path) -> None:
    net = write(tmp_path / "net.py", INPUTS)
    session = Session(load(f"{net}:everything", TRUST))
    assert [spec.name for spec in session.specs] == ["tokens", "features.a", "features.more.0", "mask"]
    assert [spec.dtype for spec in session.specs] == ["int64", "float32", "float32", "bool"]
    # Batch and sequence of all inputs are one symbol each: one slider moves them together.
    assert {dim.symbol for spec in session.specs for dim in spec.dims} == {"batch", "sequence", None}
    assert session.analyze(session.default_configuration()).totals.macs == 2 * (2 * 7 * 16 * 16)
    assert analyse(f"{net}:keywords").totals.macs == 2 * 7 * 16 * 16


def test_shapes_must_be_given_where_nothing_tells_them(tmp_path: Path) -> None:
    net = write(tmp_path / "net.py", INPUTS)
    with pytest.raises(MissingShapeError, match="does not say what its inputs are"):
        analyse(f"{net}:silent")
    given = (InputShape("a", (4, 5)), InputShape("b", (5, 6)))
    assert analyse(f"{net}:silent", *given).totals.macs == 4 * 5 * 6


def test_a_folder_whose_modules_are_named_like_ours(tmp_path: Path) -> None:
    """engine.py, gui.py, main.py and resources.py beside the model are theirs, at import and inside forward."""
    for name in ("gui", "main", "resources"):
        write(tmp_path / f"{name}.py", f"NAME = 'their {name}'\n")
    write(
        tmp_path / "engine.py",
        """
        import gui, main, resources
        from torch import nn
        def build():
            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.fc = nn.Linear(4, 4)
                def forward(self, x):
                    import engine, gui, resources
                    assert engine.__file__.endswith("engine.py"), engine.__file__
                    assert gui.NAME == "their gui" and resources.NAME == "their resources"
                    return self.fc(x)
            assert main.NAME == "their main"
            return Net()
        """,
    )
    session = Session(load(f"{tmp_path / 'engine.py'}:build", TRUST))
    for batch in (1, 2, 3):
        analysis = session.analyze(Configuration((InputShape("x", (batch, 4)),)))
        assert analysis.totals.macs == batch * 16
    import engine.results

    assert hasattr(engine.results, "Analysis")


def test_files_inside_packages_use_relative_imports(tmp_path: Path) -> None:
    write(tmp_path / "models" / "__init__.py", "")
    write(
        tmp_path / "models" / "parts.py", "from torch import nn\ndef layer():\n    return nn.Linear(3, 5)\n"
    )
    net = write(
        tmp_path / "models" / "net.py", "from .parts import layer\ndef build():\n    return layer()\n"
    )
    assert analyse(f"{net}:build").totals.macs == 15


def test_opening_again_reads_the_files_again(tmp_path: Path) -> None:
    helper = write(tmp_path / "helper_width.py", "WIDTH = 4\n")
    net = write(
        tmp_path / "net.py",
        "from torch import nn\nfrom helper_width import WIDTH\ndef build():\n    return nn.Linear(WIDTH, WIDTH)\n",
    )
    assert analyse(f"{net}:build").totals.macs == 16
    helper.write_text("WIDTH = 5  # changed\n", encoding="utf-8")
    assert analyse(f"{net}:build").totals.macs == 25


def test_constructor_that_reads_values(tmp_path: Path) -> None:
    """``.tolist()`` cannot run on meta; only uninitialised storage goes there then."""
    net = write(
        tmp_path / "net.py",
        """
        import torch
        from torch import nn
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                widths = torch.linspace(4, 8, 3).tolist()
                self.layers = nn.Sequential(*[nn.Linear(4, int(w)) for w in widths[:1]])
                self.big = nn.Parameter(torch.empty(100_000, 100_000))
            def forward(self, x):
                return self.layers(x)
        """,
    )
    analysis = analyse(f"{net}:Net")
    assert analysis.totals.macs == 16
    assert analysis.totals.untouched_params == 10**10


BAD = {
    "missing.py:build": "There is no file",
    "empty.py:build": "empty.py has no 'build'. It defines no function or class.",
    "syntax.py:build": "syntax.py, line 2:",
    "binary.py:build": "binary.py is not a Python source file.",
    "raises.py:build": "build in raises.py raised ZeroDivisionError: division by zero (line 2).",
    "exits.py:build": "Importing exits.py raised SystemExit: 3 (line 2).",
    "imports.py:build": "Importing imports.py raised ModuleNotFoundError: No module named 'no_such_package_at_all'",
    "number.py:build": "build in number.py returned an object of type int, not a torch.nn.Module.",
    "nothing.py:build": "build in nothing.py returned None, not a torch.nn.Module.",
    "number.py:other": "number.py has no 'other'. It has: build.",
    "number.py": "number.py needs a callable after its name.",
    "number.py:build(": "is not a name or a call with literal arguments.",
    "number.py:build(open('x'))": "is not a name or a call with literal arguments.",
    "folder.py:build": "folder.py is a folder.",
}
FILES = {
    "empty.py": "",
    "syntax.py": "x = 1\ndef build(:\n",
    "raises.py": "def build():\n    return 1 / 0\n",
    "exits.py": "import sys\nsys.exit(3)\n",
    "imports.py": "import no_such_package_at_all\ndef build(): pass\n",
    "number.py": "def build():\n    return 3\n",
    "nothing.py": "def build():\n    pass\n",
}


@pytest.mark.parametrize("source", BAD)
def test_bad_files_end_in_a_sentence(tmp_path: Path, source: str) -> None:
    for name, text in FILES.items():
        write(tmp_path / name, text)
    (tmp_path / "binary.py").write_bytes(b"\x00\xff\xfe" * 40)
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(EngineError) as caught:
        load(str(tmp_path / source), TRUST)
    assert isinstance(caught.value, LoadError)
    assert BAD[source] in caught.value.info().sentence


def test_a_long_file_beside_the_model_runs_with_what_it_imports(tmp_path: Path) -> None:
    """Too long to be parsed before anybody agreed: it is hashed and named, and its imports are read off its text."""
    write(tmp_path / "net.py", "from table import build\n")
    write(tmp_path / "table.py", f"from layers import (\n    Net,  # the model\n)\nVALUES = [{'1,' * 100_000}]\n"
          "def build():\n    return Net(4, 3)\n")  # fmt: skip
    write(tmp_path / "layers.py", "from torch.nn import Linear as Net\n")
    with pytest.raises(ConsentRequiredError) as asked:
        load(f"{tmp_path}/net.py:build", LoadOptions())
    assert "Imports from its folder: layers.py, table.py." in asked.value.details
    assert any("table.py cannot be parsed, or is too long" in line for line in asked.value.details)
    opened = load(f"{tmp_path}/net.py:build", LoadOptions(trust=True, digest=asked.value.digest))
    assert opened.module.in_features == 4


def test_statements_at_import_are_counted_where_they_are_many(tmp_path: Path) -> None:
    write(tmp_path / "net.py", "print()\n" * 1_000 + f"x = [{'int(), ' * 2_000}]\ndef build(): ...\n")
    with pytest.raises(ConsentRequiredError) as asked:
        load(f"{tmp_path}/net.py:build", LoadOptions())
    listed = [line for line in asked.value.details if "at import" in line]
    assert listed[0] == "Line 1, at import: print()"
    assert len(listed) == 101 and listed[-1] == "Runs 901 more statements at import."


def test_unknown_sources() -> None:
    with pytest.raises(LoadError, match="is no model source"):
        load("what is this", TRUST)
    with pytest.raises(LoadError) as caught:
        load("torchvision:resnet5", TRUST)
    assert "Did you mean resnet50" in caught.value.hint
    with pytest.raises(LoadError, match="has no weights 'X' for resnet18"):
        load("torchvision:resnet18:X", TRUST)
    with pytest.raises(LoadError, match="cannot build"):
        load("torchvision:resnet18(widht=3)", TRUST)
    assert load("torchvision:resnet18(num_classes=10)", TRUST).module.fc.out_features == 10
