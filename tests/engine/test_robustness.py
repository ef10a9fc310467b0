"""Ways a model, an edit or a file can upset the engine, each found by trying: the next result is right all the same."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from engine.api import analyze, analyze_columns, open_session
from engine.configuration import Configuration
from engine.edits import RemoveLayer, SetAttribute
from engine.errors import (
    CancelledError,
    ConsentRequiredError,
    InputError,
    LayerError,
    LoadError,
    RealRunRequiredError,
    UnsupportedModelError,
)
from engine.graph import InputShape
from engine.loaders import load
from engine.loaders.loaded import LoadOptions
from engine.session import Session
from tests.engine.test_session import ReadsValues


def resnet18() -> Session:
    return Session(load("torchvision:resnet18", LoadOptions()))


def test_a_refused_edit_leaves_no_trace() -> None:
    session = resnet18()
    inputs = session.default_configuration().inputs
    good = session.analyze(Configuration(inputs)).totals
    session.analyze(Configuration(inputs, (SetAttribute("conv1", "kernel_size", 3), RemoveLayer("fc"))))
    with pytest.raises(InputError):
        session.analyze(Configuration(inputs, (RemoveLayer("nope"),)))
    huge = SetAttribute("conv1", "kernel_size", (2**31, 2**31))
    with pytest.raises(InputError):
        session.analyze(Configuration(inputs, (RemoveLayer("maxpool"), huge)))
    smaller = (InputShape("x", (1, 3, 192, 192)),)
    again = session.analyze(Configuration(smaller))
    assert again.totals.params == good.params == 11_689_512
    assert again.totals.untouched_params == 0
    assert not any(again.modules.removed)
    assert (
        again.totals.macs
        == Session(load("torchvision:resnet18", LoadOptions())).analyze(Configuration(smaller)).totals.macs
    )


class Swallows(nn.Module):
    """Catches whatever its second layer raises."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 16)
        self.stop: Event | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        if stops:
            stops[0].set()
        try:
            return self.b(x)  # type: ignore[no-any-return]
        except Exception:
            return x


stops: list[Event] = []


def test_a_model_that_swallows_exceptions_cannot_keep_a_cancelled_result() -> None:
    session = open_session(Swallows(), (1, 16))
    stops[:] = [Event()]
    with pytest.raises(CancelledError):
        session.analyze(session.default_configuration(), stop=stops[0])
    stops.clear()
    assert session.analyze(session.default_configuration()).totals.macs == 2 * 16 * 16


def test_consent_to_a_real_run_is_for_the_configuration_that_gave_it() -> None:
    session = open_session(ReadsValues(), (5, 8))
    assert analyze_columns(session, (5, 8), allow_real_run=True).mode == "cpu"
    with pytest.raises(RealRunRequiredError):
        analyze_columns(session, (6, 8))


class Grows(nn.Module):
    """Keeps a cache, a replaced buffer, a dict, a list and a counter between forward passes."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.register_buffer("ema", torch.zeros(8))
        self.past: Tensor | None = None
        self.seen: dict[int, Tensor] = {}
        self.tables: list[Tensor] = []
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        self.past = x if self.past is None else torch.cat([self.past, x])
        self.ema = self.ema * 0.9 + x.mean(0)
        if len(x) not in self.seen:
            self.seen[len(x)] = torch.ones(len(x), 8, device=x.device).exp()
        self.tables.append(x + 1)
        return self.fc(self.past) + self.seen[len(x)].sum()  # type: ignore[no-any-return]


def test_results_do_not_depend_on_what_was_analysed_before() -> None:
    session = open_session(Grows(), (4, 8))
    first = analyze_columns(session, (4, 8))
    for rows in (5, 6, 4, 7):
        inputs = (InputShape("x", (rows, 8)),)
        again = session.analyze(Configuration(inputs), fast=False)
        fresh = analyze_columns(open_session(Grows(), (rows, 8)), (rows, 8))
        assert again.totals == fresh.totals
        assert again.totals.macs == rows * 64
    assert first.totals.macs == 4 * 64


def test_out_arguments_are_written_not_viewed() -> None:
    class Out(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.randn(8, 8))

        def forward(self, x: Tensor) -> Tensor:
            buffer = torch.empty_like(x)
            torch.mm(x, self.w, out=buffer)
            return torch.mm(buffer, self.w)

    report = analyze(Out(), (8, 8))
    assert report.totals.macs == 2 * 8**3
    assert report.totals.untouched_params == 0
    assert [layer.params for layer in report.layers if layer.op == "mm"] == [64, 64]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def test_tied_weights_stay_tied_when_built_with_real_tensors(tmp_path: Path) -> None:
    net = write(
        tmp_path / "net.py",
        """
        import torch
        from torch import nn
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                width = int(torch.tensor(8).item())
                self.embedding = nn.Embedding(8, width)
                self.head = nn.Linear(width, 8, bias=False)
                self.head.weight = self.embedding.weight = nn.Parameter(torch.randn(8, width))
            def forward(self, x):
                return self.head(self.embedding(x))
        """,
    )
    analysis = Session(load(f"{net}:Net", LoadOptions(trust=True)))
    assert analysis.analyze(analysis.default_configuration()).totals.params == 64


def test_bytes_moved_of_lookups_and_expanded_operands() -> None:
    table = analyze(nn.Embedding(50_000, 768), torch.zeros(1, 3, dtype=torch.int64))
    assert table.totals.bytes_moved == 3 * 768 * 4 + 3 * 8 + 3 * 768 * 4  # rows read, indices, rows written

    class Expanded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.row = nn.Parameter(torch.randn(1, 16))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.row.expand(1000, 16)

    report = analyze(Expanded(), (1000, 16))
    mul = next(layer for layer in report.layers if layer.op == "mul")
    assert mul.bytes_moved == 2 * 1000 * 16 * 4 + 16 * 4


def test_models_that_exit_or_fail_on_purpose_end_in_a_sentence() -> None:
    class Exits(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise SystemExit(3)

    with pytest.raises(LayerError, match="stopped with SystemExit: 3"):
        analyze(Exits(), (3,))
    with pytest.raises(LayerError, match="NotImplementedError"):
        analyze(nn.Module(), (3,))

    class Threads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Any:
            return (self.fc(x) for _ in range(2))

    with pytest.raises(UnsupportedModelError, match="executed no operation"):
        analyze(Threads(), (1, 3))


def test_autocast_is_followed() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(16, 16)

        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return self.fc(x)  # type: ignore[no-any-return]

    report = analyze(Half(), (4, 16))
    linear = next(layer for layer in report.layers if layer.op == "linear")
    assert linear.dtype == "bfloat16"
    assert report.mode == "fake"


def test_edits_that_could_have_no_effect_are_refused() -> None:
    model = nn.Sequential(weight_norm(nn.Conv2d(3, 4, 3)))
    with pytest.raises(InputError, match="its weight is computed"):
        analyze(model, (1, 3, 9, 9), [SetAttribute("0", "kernel_size", 5)])


def test_shapes_take_the_dtype_of_the_model() -> None:
    tokens = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 4))
    assert analyze(tokens, (1, 5)).totals.macs == 5 * 16
    assert analyze(nn.Linear(4, 4).half(), (2, 4)).inputs[0].dtype == "float16"


def test_unknown_assumptions_and_impossible_sizes_are_told() -> None:
    with pytest.raises(InputError, match="assumes nothing called 'foo'"):
        analyze("torchvision:resnet18", assumptions={"foo": 3})
    with pytest.raises(InputError, match="too large"):
        analyze("torchvision:resnet18", (1, 3, 10**11, 10**11))
    for call in ("resnet50(num_classes=-5)", "vit_b_16(image_size=225)", "resnet18(weights='nope')"):
        with pytest.raises(LoadError, match="torchvision cannot build"):
            load(f"torchvision:{call}", LoadOptions())


def test_an_empty_configuration_is_the_default_one() -> None:
    session = resnet18()
    analysis = session.analyze(Configuration(()))
    assert analysis.configuration == session.default_configuration()
    assert session.kept(session.default_configuration()) is analysis


def test_dtypes_are_named_before_kernels() -> None:
    with pytest.raises(LayerError) as caught:
        analyze(nn.Sequential(nn.Conv2d(3, 4, 3).half()), torch.randn(1, 3, 9, 9))
    assert (caught.value.expected, caught.value.got) == ("float16 like its weights", "float32")


# -- consent -----------------------------------------------------------------------------------------------------


def agreed(source: str) -> LoadOptions:
    with pytest.raises(ConsentRequiredError) as caught:
        load(source, LoadOptions())
    return LoadOptions(trust=True, digest=caught.value.digest)


BUILD = "\ndef build():\n    from torch import nn\n    return nn.Linear(2, 2)\n"


def test_modules_named_in_from_imports_are_part_of_the_consent(tmp_path: Path) -> None:
    write(tmp_path / "mods" / "__init__.py", "")
    evil = write(tmp_path / "mods" / "evil.py", "x = 1\n")
    net = write(tmp_path / "net.py", "from mods import evil" + BUILD)
    options = agreed(f"{net}:build")
    load(f"{net}:build", options)
    evil.write_text("x = 2\n", encoding="utf-8")
    with pytest.raises(ConsentRequiredError):
        load(f"{net}:build", options)


def test_the_packages_a_file_lies_in_are_part_of_the_consent(tmp_path: Path) -> None:
    write(tmp_path / "pkg" / "__init__.py", "from . import hidden\n")
    hidden = write(tmp_path / "pkg" / "hidden.py", "x = 1\n")
    net = write(tmp_path / "pkg" / "net.py", BUILD)
    options = agreed(f"{net}:build")
    load(f"{net}:build", options)
    hidden.write_text("raise SystemExit\n", encoding="utf-8")
    with pytest.raises(ConsentRequiredError):
        load(f"{net}:build", options)


def test_only_the_bytes_that_were_shown_run(tmp_path: Path) -> None:
    """Neither a compiled cache nor a file that the text does not name runs in place of what was agreed to."""
    import py_compile

    marker = tmp_path / "ran"
    net = write(tmp_path / "net.py", "import helper" + BUILD)
    helper = write(tmp_path / "helper.py", f"open({str(marker)!r}, 'w')\n")
    py_compile.compile(str(helper), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    helper.write_text("x = 1\n", encoding="utf-8")
    load(f"{net}:build", agreed(f"{net}:build"))
    assert not marker.exists()

    write(tmp_path / "quiet.py", f"open({str(marker)!r}, 'w')\n")
    sly = write(tmp_path / "sly.py", "import importlib\nimportlib.import_module('qu' + 'iet')" + BUILD)
    with pytest.raises(LoadError, match="not among the files you agreed to run"):
        load(f"{sly}:build", agreed(f"{sly}:build"))
    assert not marker.exists()
    load(f"{sly}:build", LoadOptions(trust=True))
    assert marker.exists(), "a blanket --trust covers the folder"
    assert not (tmp_path / "__pycache__" / "quiet.cpython-311.pyc").exists()


def test_names_that_clash_or_have_dots(tmp_path: Path) -> None:
    for name in ("copy.py", "net.v2.py", "torch.py"):
        net = write(tmp_path / name, BUILD)
        session = Session(load(f"{net}:build", LoadOptions(trust=True)))
        assert session.analyze(session.default_configuration()).totals.macs == 4
        net.unlink()


def test_a_folder_above_the_interpreter(tmp_path: Path) -> None:
    """A home folder with the interpreter in it: the standard library is not the user's."""
    import sys

    from engine.loaders.isolation import UserModules

    world = UserModules(Path(sys.base_prefix).resolve().parent, {}, others_allowed=False)
    sys.modules.pop("xml.dom.minicompat", None)
    import xml.dom

    with world.active():
        import xml.dom.minicompat
    assert sys.modules["xml.dom.minicompat"] is xml.dom.minicompat


def test_odd_files(tmp_path: Path) -> None:
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.py")
        with pytest.raises(LoadError, match="no regular file"):
            load(f"{tmp_path / 'pipe.py'}:build", LoadOptions(trust=True))
    loop = tmp_path / "loop.py"
    loop.symlink_to(loop)
    with pytest.raises(LoadError):
        load(f"{loop}:build", LoadOptions(trust=True))
    write(tmp_path / "broken_helper.py", "def (:\n")
    net = write(tmp_path / "net.py", "import broken_helper" + BUILD)
    with pytest.raises(LoadError, match="raised SyntaxError"):
        load(f"{net}:build", agreed(f"{net}:build"))
