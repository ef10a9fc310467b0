"""Misnomer: what a neural network really costs. ``report``, ``contents`` and ``screenshot`` work without a
display.

Exit status: 0 done, 1 a bug, 2 a bad request or model, 3 when a ``--fail-if`` of a report holds.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gui.app import Options

OK, BUG, BAD_REQUEST = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["report"]:
        from engine.cli import main as report

        return report(arguments[1:], own_process=argv is None)
    if arguments[:1] == ["contents"]:
        from engine.contents_cli import main as contents

        return contents(arguments[1:])
    if arguments[:1] == ["screenshot"]:
        return _screenshot(arguments[1:])
    return _window(arguments)


def _model_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--input", action="append", default=[], metavar="NAME=SHAPE[:dtype]",
        help="x=1x3x224x224; the name may be left out when the model has one input")  # fmt: skip
    add("--set", action="append", default=[], dest="sets", metavar="LAYER.FIELD=VALUE",
        help="change a layer: --set layer2.0.conv2.stride=1")  # fmt: skip
    add("--remove", action="append", default=[], metavar="LAYER", help="take a layer out")
    add("--assume", action="append", default=[], metavar="KEY=VALUE",
        help="set a size that depends on the data: --assume rpn:nms=100")  # fmt: skip
    add("--trust", action="store_true", help="agree to run the code of SOURCE")
    add("--allow-network", action="store_true", help="let the code of SOURCE use the network")
    add("--python", default="", metavar="PATH", help="interpreter that runs the engine")
    add("--theme", choices=("system", "light", "dark"), default="", help="colours of this run")


def _window(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="misnomer",
        description="Explore what a neural network really costs.",
        epilog="Also: misnomer report SOURCE …, misnomer contents FILE, misnomer screenshot SOURCE -o FILE.png; "
        "each has its --help.",
    )
    parser.add_argument("source", nargs="?", metavar="SOURCE",
        help="torchvision:NAME, timm:NAME, a model file (.onnx, .pt2, .pt …) or folder, WEIGHTS@ARCHITECTURE, "
        "file.py:callable or a report.json")  # fmt: skip
    _model_arguments(parser)
    options = _options(parser.parse_args(arguments))
    if options is None:
        return BAD_REQUEST
    from gui.app import run

    return run(options)


def _screenshot(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="misnomer screenshot", description="A picture of the window, settled."
    )
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("-o", "--output", required=True, metavar="FILE.png")
    parser.add_argument("--size", default="1600x1000", metavar="WxH")
    parser.add_argument("--select", default="", metavar="NODE", help="layer or operation to select")
    parser.add_argument("--no-measuring", action="store_true", help="leave measured numbers out")
    _model_arguments(parser)
    parsed = parser.parse_args(arguments)
    size = re.fullmatch(r"(\d{2,5})[x×](\d{2,5})", parsed.size)
    if size is None:
        return _complain(f"--size {parsed.size!r} is not WIDTHxHEIGHT, for example 1600x1000.")
    options = _options(parsed)
    if options is None:
        return BAD_REQUEST
    from gui.screenshot import take

    problem = take(
        parsed.output,
        options,
        (int(size[1]), int(size[2])),
        parsed.select,
        measuring=not parsed.no_measuring,
    )
    return _complain(problem) if problem else OK


def _options(parsed: argparse.Namespace) -> Options | None:
    """The options of the window; None (after a sentence on stderr) when one of them makes no sense."""
    from engine.edits import Edit, RemoveLayer, add_edit, parse_set
    from engine.errors import EngineError
    from engine.opening import onnx_path
    from gui.opening import Plan, parse_inputs

    edits: tuple[Edit, ...] = ()
    try:
        inputs = tuple(shape for text in parsed.input for shape in parse_inputs(text))
        assumptions: tuple[tuple[str, int], ...] = ()
        if parsed.assume:
            from engine.cli import parse_assumption

            assumptions = tuple(sorted(parse_assumption(text) for text in parsed.assume))
        any_field = bool(parsed.sets) and parsed.source is not None and onnx_path(parsed.source) is not None
        for text in parsed.sets:
            edits = add_edit(edits, parse_set(text, any_field=any_field))
    except EngineError as error:
        _complain(error.info().sentence)
        return None
    for layer in parsed.remove:
        edits = add_edit(edits, RemoveLayer(layer))
    if parsed.allow_network:
        from engine.confine import ALLOW_NETWORK

        os.environ[ALLOW_NETWORK] = "1"  # for the engines, which are started with this environment
    from gui.app import DEFAULT_SOURCE, Options

    return Options(
        source=parsed.source or DEFAULT_SOURCE,
        trust=parsed.trust,
        plan=Plan(inputs=inputs, edits=edits, assumptions=assumptions),
        python=parsed.python,
        theme=parsed.theme,
    )


def _complain(sentence: str) -> int:
    sys.stderr.write(f"misnomer: {sentence}\n")
    return BAD_REQUEST


if __name__ == "__main__":
    sys.exit(main())
