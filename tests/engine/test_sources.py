"""The grammar of model sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.sources import FileSource, absolute, is_file, short, split_file, split_python


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("w.pt", FileSource("w.pt")),
        ("w.pt@torchvision:resnet18", FileSource("w.pt", "", "torchvision:resnet18")),
        ("w.pt@timm:vit(num_classes=10)", FileSource("w.pt", "", "timm:vit(num_classes=10)")),
        ("w.pt#ema.module@net.py:build(1)", FileSource("w.pt", "ema.module", "net.py:build(1)")),
        ("w.pt@net.py", FileSource("w.pt", "", "net.py")),
        ("w.pt@transformers:/a@b/bert", FileSource("w.pt", "", "transformers:/a@b/bert")),
        ("net.pt2#unguarded", FileSource("net.pt2", "unguarded")),
        ("a#b#c", FileSource("a#b", "c")),
        ("net.py:build", FileSource("net.py:build")),
    ],
)
def test_what_follows_a_file(source: str, expected: FileSource) -> None:
    assert split_file(source) == expected
    assert str(expected) == source


def test_a_path_that_exists_is_taken_whole(tmp_path: Path) -> None:
    odd = tmp_path / "w#1@net.py:x"
    odd.write_text("")
    assert split_file(str(odd)) == FileSource(str(odd))
    assert split_file(f"{odd}#ema@timm:vit") == FileSource(str(odd), "ema", "timm:vit")
    folder = tmp_path / "me@home"
    folder.mkdir()
    (folder / "net.py").write_text("")
    assert split_file(f"{folder}/net.py:build") == FileSource(f"{folder}/net.py:build")
    assert split_file(f"{folder}/w.pt#a#b") == FileSource(f"{folder}/w.pt#a", "b")
    (folder / "w.pt").write_text("")
    assert split_file(f"{folder}/w.pt#a#b") == FileSource(f"{folder}/w.pt", "a#b")
    assert split_file(f"{folder}/w.pt@{folder}/net.py:build") == FileSource(
        f"{folder}/w.pt", "", f"{folder}/net.py:build"
    )


def test_python_sources() -> None:
    assert split_python("a/net.py:build(depth=3)") == ("a/net.py", "build(depth=3)")
    assert split_python("net.py") == ("net.py", "")
    assert split_python("w.pt") is None
    assert split_python("torchvision:resnet50") is None


def test_absolute_and_short() -> None:
    here = Path.cwd()
    for same in ("torchvision:resnet50", "timm:vit_tiny", "resnet50", "", str(here / "net.py:build")):
        assert absolute(same) == same
    assert absolute("net.py:build") == f"{here / 'net.py'}:build"
    assert absolute("w.pt") == str(here / "w.pt")
    assert absolute("w.pt#ema@net.py:build") == f"{here / 'w.pt'}#ema@{here / 'net.py'}:build"
    assert absolute("transformers:bert") == f"transformers:{here / 'bert'}"
    assert short("/models/net.py:build") == "net.py:build"
    assert short("/reports/old.json") == "old.json"
    assert short("torchvision:resnet50") == "torchvision:resnet50"
    assert short("/a/w.pt#ema@/b/net.py:build") == "w.pt#ema@net.py:build"
    assert short("transformers:/a/bert") == "transformers:bert"


def test_what_is_a_file() -> None:
    assert is_file("w.pt")
    assert is_file("folder/model")
    assert is_file("w.pt@timm:vit")
    assert not is_file("torchvision:resnet50")
    assert not is_file("resnet50")
    assert not is_file("")
    assert not is_file("\0")
