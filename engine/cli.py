"""``python main.py report SOURCE``: an analysis on standard output or in a file, without a window.

Exit status: 0 done, 1 a bug, 2 a bad request or model, 3 a ``--fail-if`` condition holds, 130 interrupted; a model
whose own code ends the process (``os._exit``) decides it itself. Errors are one
sentence on standard error; nothing but the report reaches standard output.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, get_args

import msgspec
from msgspec import Struct

from engine import confine
from engine.contents import printable
from engine.edits import Edit, RemoveLayer, add_edit, parse_set
from engine.errors import EngineError, ErrorInfo, ExportError, InputError, LayerError
from engine.export import FORMATS, format_of, read_report, render
from engine.export.compare import Condition, parse_condition
from engine.export.files import reason, write_file
from engine.graph import DTYPE_BYTES, InputShape
from engine.loaders import check
from engine.loaders.options import LoadOptions
from engine.measured_summary import paired, ratio_words, verdict_words
from engine.measurement import MAX_THREADS, ORT_LEVELS, RuntimeOptions, Tier
from engine.opening import onnx_path
from engine.results import Analysis, Totals, with_latency

if TYPE_CHECKING:
    from engine.open_model import OpenModel

OK, BUG, BAD_REQUEST, CONDITION_HOLDS, INTERRUPTED = 0, 1, 2, 3, 130

MAX_COMMANDS = 10
"""Architectures that weights may belong to, as commands below the sentence that asks for one."""

_SHAPE = re.compile(r"[\[(]?\s*(\d{1,12}(?:\s*[x×,]\s*\d{1,12})*)\s*,?\s*[\])]?")

_ELSEWHERE = r"""
import sys
def refuse(words):
    sys.stderr.write("misnomer: %s %s\n" % (sys.executable, words))
    sys.exit(2)
if sys.version_info < (3, 11):
    refuse("is Python %d.%d; Misnomer needs 3.11 or newer." % sys.version_info[:2])
from importlib.util import find_spec
framework = sys.argv.pop(1)
missing = [name for name in ("msgspec", framework) if find_spec(name) is None]
if missing:
    refuse("has no %s; install it there." % " and no ".join(missing))
sys.path[0] = sys.argv.pop(1)
from engine.cli import main
sys.exit(main(sys.argv[1:], own_process=True))
"""
"""What ``--python`` runs there: readable by any Python, so that an old one answers with a sentence too."""


class Request(Struct, frozen=True):
    """A parsed command line."""

    source: str
    inputs: tuple[InputShape, ...]
    """Name and dtype are empty where the command line left them out."""
    edits: tuple[Edit, ...]
    assumptions: dict[str, int]
    format: str
    output: str | None
    trust: bool
    allow_real_run: bool
    against: str | None
    conditions: tuple[Condition, ...]
    latency: bool = False
    """Measure on the CPU."""
    threads: int = 0
    """0: the framework's default."""
    tier: Tier = "settled"
    runtime: RuntimeOptions = RuntimeOptions()
    ort_profile: str | None = None
    """An onnxruntime profile to show on the layers."""
    save_model: str | None = None
    """Where to write the edited ONNX model."""
    fix_sizes: bool = False
    """Fix the input sizes in it."""
    zeros: bool = False
    """Count the zeros in the weights, however much there is to read."""


def main(argv: Sequence[str], *, own_process: bool = False) -> int:
    """Run ``report …``, the leading ``report`` given or not; the exit status.

    ``own_process``: it does nothing else, so the network may be closed to it for good.
    """
    arguments = list(argv[1:] if argv[:1] == ["report"] else argv)

    def run() -> int:
        options = _parser().parse_args(arguments)
        if options.python:
            framework = "torch" if onnx_path(options.source) is None else "onnx"
            return _run_elsewhere(options.python, framework, arguments)
        if own_process:
            allowed = options.allow_network or confine.network_allowed()
            confine.confine(allow_network=allowed)
            if not allowed:
                from engine.loaders.packages import stay_offline

                stay_offline()
        return _report(_request(options))

    return guarded(run)


def guarded(run: Callable[[], int]) -> int:
    """The exit status of ``run``, or that of the error that ended it, which is told on standard error."""
    try:
        return run()
    except EngineError as error:
        _complain("\n".join([_sentence(error), *_commands(error.info())]))
        return BAD_REQUEST
    except KeyboardInterrupt:
        _complain("Interrupted.")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the report has seen enough (``| head``); Python would complain once more at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return OK
    except Exception:  # the last resort of a program: a bug is shown whole and has its own status
        traceback.print_exc()
        _complain("Internal error, see the traceback above.")
        return BUG


def _complain(sentence: str) -> None:
    if sys.stderr is not None:
        # Names in a file, and what its code raises, are for reading: a terminal must not act on them.
        lines = map(printable, sentence.split("\n"))
        sys.stderr.write("misnomer: " + "\n".join(lines) + "\n")
        sys.stderr.flush()


def _sentence(error: EngineError) -> str:
    """The error as one line, with what was expected and got where that is known."""
    info = error.info()
    words = [info.message]
    if isinstance(error, LayerError) and info.expected and info.expected not in info.message:
        words.append(f"Expected {info.expected}, got {info.got}.")
    words += [*info.details, info.hint]
    return " ".join(" ".join(words).split())


def _commands(info: ErrorInfo) -> Iterator[str]:
    """What to run for the architectures that fit best, and how to see all of them."""
    for candidate in info.candidates[:MAX_COMMANDS]:
        yield f"  python main.py report {shlex.quote(candidate.source)}".replace("\n", " ")
    if len(info.candidates) > MAX_COMMANDS:
        all_of_them = f"python main.py contents {shlex.quote(info.file)}"
        yield f"  All {len(info.candidates):,}, with the reasons: {all_of_them}"


class Parser(argparse.ArgumentParser):
    """Reports a bad command line as InputError instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        command = self.prog.rpartition(" ")[2]
        raise InputError(f"{message[:1].upper()}{message[1:]}.", hint=f"See: {command} --help")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="misnomer report",
        description="What a neural network costs, layer by layer, as a report.",
        epilog="Exit status: 0 done, 1 internal error, 2 bad request or model, 3 a --fail-if holds.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "source",
        metavar="SOURCE",
        help="torchvision:NAME, timm:NAME, a model file (.onnx, .pt2, .pt …) or folder, WEIGHTS@ARCHITECTURE or "
        "file.py:callable",
    )
    add("--input", action="append", default=[], metavar="NAME=SHAPE[:dtype]",
        help="x=1x3x224x224 or tokens=1x128:int64; the name may be left out for a single input")  # fmt: skip
    add("--set", action="append", default=[], metavar="LAYER.FIELD=VALUE", dest="edits", type=_Set,
        help="change a layer: --set layer2.0.conv2.stride=1, of an ONNX file --set conv1.strides=1x1")  # fmt: skip
    add("--remove", action="append", metavar="LAYER", dest="edits", type=RemoveLayer,
        help="take a layer out: --remove maxpool")  # fmt: skip
    add("--save-model", metavar="FILE.onnx",
        help="write an ONNX model with its edits and weights, checked and run once")  # fmt: skip
    add(
        "--fix-sizes",
        action="store_true",
        help="with --save-model: fix the input sizes that the file leaves open",
    )
    add("--assume", action="append", default=[], metavar="KEY=VALUE",
        help="set a size that depends on the data")  # fmt: skip
    add("--zeros", action="store_true", help="count the zeros in more than 2 GiB of weights too")
    add("--format", choices=list(FORMATS), help="default: by the ending of -o, else md")
    add("-o", "--output", metavar="FILE", help="write to FILE instead of standard output")
    add("--trust", action="store_true", help="agree to run the code of SOURCE")
    add("--allow-network", action="store_true", help="let the code of SOURCE use the network")
    add(
        "--allow-real-run",
        action="store_true",
        help="agree to a real run on the CPU where nothing else works",
    )
    add("--latency", metavar="cpu", default="",
        help="measure too, in this process: latency, every layer's time, memory")  # fmt: skip
    add(
        "--threads",
        type=int,
        metavar="N",
        help="threads to measure with; default: the framework's own number",
    )
    add("--ort-level", choices=list(ORT_LEVELS),
        help="graph optimisation of onnxruntime for ONNX models; default: all")  # fmt: skip
    add("--ort-profile", metavar="FILE",
        help="show an onnxruntime profile, recorded anywhere, on the layers of an ONNX model")  # fmt: skip
    add("--spinning", choices=("on", "off"), help="whether onnxruntime's idle threads spin; default: on")
    add("--tier", choices=get_args(Tier), help="how long to measure; default: settled")
    add("--python", metavar="PATH", help="run in this Python interpreter, where the model's packages are")
    add(
        "--against",
        metavar="OLD.json",
        help="compare with this report; without it, edits compare with the unedited model",
    )
    add("--fail-if", action="append", default=[], metavar="EXPR",
        help="exit with status 3 when it holds: macs>+5%%, params>26M, latency>50ms")  # fmt: skip
    return parser


class _Set(Struct, frozen=True):
    """A ``--set`` as it was written: which fields there are depends on the source."""

    text: str


def _edits(options: argparse.Namespace) -> tuple[Edit, ...]:
    edits: tuple[Edit, ...] = ()
    given = options.edits or ()
    any_field = any(isinstance(edit, _Set) for edit in given) and onnx_path(options.source) is not None
    for edit in given:
        edits = add_edit(edits, parse_set(edit.text, any_field=any_field) if isinstance(edit, _Set) else edit)
    return edits


def _request(options: argparse.Namespace) -> Request:
    """The options, checked. Raises EngineError for the first that is wrong."""
    edits = _edits(options)
    format = options.format or (format_of(options.output) if options.output else "md")
    conditions = tuple(parse_condition(text) for text in options.fail_if)
    _check_measuring(options, conditions)
    return Request(
        source=options.source,
        inputs=tuple(parse_input(text) for text in options.input),
        edits=edits,
        assumptions=dict(parse_assumption(text) for text in options.assume),
        format=format,
        output=options.output,
        trust=options.trust,
        allow_real_run=options.allow_real_run,
        against=options.against,
        conditions=conditions,
        latency=bool(options.latency),
        threads=options.threads or 0,
        tier=options.tier or "settled",
        ort_profile=options.ort_profile,
        runtime=RuntimeOptions(options.ort_level or "all", options.spinning != "off"),
        save_model=options.save_model,
        fix_sizes=options.fix_sizes,
        zeros=options.zeros or any(condition.is_of_zeros for condition in conditions),
    )


def _check_measuring(options: argparse.Namespace, conditions: Sequence[Condition]) -> None:
    """Raises InputError for options about measuring that make no sense."""
    if options.latency not in ("", "cpu"):
        raise InputError(
            f"--latency {options.latency}: this version measures on the CPU.", hint="Write --latency cpu."
        )
    if options.threads is not None and not 1 <= options.threads <= MAX_THREADS:
        raise InputError(f"--threads {options.threads} is not between 1 and {MAX_THREADS}.")
    if options.ort_profile and options.latency:
        raise InputError(
            "--ort-profile and --latency are times of two places: a report has one of them.",
            hint="Leave one out.",
        )
    needs = [f"--fail-if {condition.text!r}" for condition in conditions if condition.is_measured]
    needs += [
        f"--{name}"
        for name in ("threads", "tier", "ort-level", "spinning")
        if getattr(options, name.replace("-", "_")) is not None
    ]
    if needs and not options.latency:
        raise InputError(f"{needs[0]} needs a measurement.", hint="Add --latency cpu.")


def parse_input(text: str) -> InputShape:
    """``x=1x3x224x224``, ``1x3x224x224`` or ``tokens=1x128:int64``; name and dtype are empty where left out.

    Raises InputError.
    """
    name, equals, rest = text.rpartition("=")
    shape, colon, dtype = rest.partition(":")
    found = _SHAPE.fullmatch(shape.strip())
    if found is None or (equals and not name.strip()):
        raise InputError(
            f"--input {text!r} is not NAME=SHAPE[:dtype].",
            hint="For example: --input x=1x3x224x224 or tokens=1x128:int64.",
        )
    if colon and dtype not in DTYPE_BYTES:
        raise InputError(
            f"--input {text!r}: there is no dtype {dtype!r}.", hint=f"Known: {', '.join(DTYPE_BYTES)}."
        )
    sizes = tuple(int(size) for size in re.split(r"[x×,]", found[1]))
    if 0 in sizes:
        raise InputError(f"--input {text!r}: every size must be at least 1.")
    return InputShape(name.strip(), sizes, dtype)


def parse_assumption(text: str) -> tuple[str, int]:
    key, _, value = text.partition("=")
    if not key.strip() or not re.fullmatch(r"\s*-?\d{1,12}\s*", value, re.ASCII):
        raise InputError(
            f"--assume {text!r} is not KEY=VALUE with a whole number.",
            hint="For example: --assume rpn:nms=100",
        )
    return key.strip(), int(value)


def _report(request: Request) -> int:
    check(request.source, LoadOptions(trust=request.trust))
    if request.fix_sizes and not request.save_model:
        raise InputError(
            "--fix-sizes is for the file that --save-model writes.", hint="Add --save-model FILE.onnx."
        )
    if request.save_model and onnx_path(request.source) is None:
        raise InputError(
            "--save-model is for ONNX files: nothing else is saved as a model.",
            hint="The report has the edits as Python.",
        )
    against = read_report(request.against) if request.against else None
    if against is None and not request.edits:
        for condition in request.conditions:
            condition.require_reference()
    with _private_stdout():
        analysis, baseline = _analyses(request, against)
        data = render(analysis, request.format, baseline)
    reference = _reference(analysis, baseline)
    findings = [
        _finding(condition, analysis, baseline, reference)
        for condition in request.conditions
        if condition.holds(analysis.totals, reference)
    ]
    if request.output:
        write_file(request.output, data)
    else:
        write_stdout(data)
    for finding in (*findings, *_unclear(request.conditions, analysis, baseline)):
        _complain(finding)
    return CONDITION_HOLDS if findings else OK


def _finding(
    condition: Condition, analysis: Analysis, baseline: Analysis | None, reference: Totals | None
) -> str:
    """What a condition that holds found; of a latency in alternation the ratio, which decided."""
    pair = paired(analysis, baseline) if baseline is not None else None
    if pair is None or condition.key != "latency_s" or not condition.needs_reference:
        return condition.finding(analysis.totals, reference)
    return f"{condition.text.strip()} holds: latency {ratio_words(pair)}, {verdict_words(pair)}."


def _unclear(conditions: Sequence[Condition], analysis: Analysis, baseline: Analysis | None) -> Iterator[str]:
    """A sentence for every condition on the ratio of latencies when their comparison settles nothing."""
    pair = paired(analysis, baseline) if baseline is not None else None
    if pair is None or pair.verdict != "unclear":
        return
    for condition in conditions:
        if condition.needs_reference and condition.is_measured and condition.key != "cpu_s":
            yield (
                f"--fail-if {condition.text.strip()!r} rests on a comparison without a clear result: "
                f"latency {ratio_words(pair)}, {verdict_words(pair)}."
            )


def _reference(analysis: Analysis, baseline: Analysis | None) -> Totals | None:
    """What relative conditions compare with. A latency that was measured in alternation decides, not two apart."""
    if baseline is None:
        return None
    pair = paired(analysis, baseline)
    if pair is None or analysis.totals.latency_s is None:
        return baseline.totals
    return msgspec.structs.replace(baseline.totals, latency_s=analysis.totals.latency_s / pair.ratio)


def _analyses(request: Request, against: Analysis | None) -> tuple[Analysis, Analysis | None]:
    """The analysis asked for, and what to compare it with: ``against``, else with edits the unedited model.

    An unedited model that refuses this input is no baseline; an error only where a condition needs one.
    """
    # torch takes seconds to import; a mistake on the command line should not have to wait for it.
    from engine.api import analyze_columns, open_session
    from engine.guard import limited_memory, memory_errors

    with limited_memory(may_use_gpu=True), memory_errors(request.source):
        session = open_session(request.source, request.inputs, trust=request.trust)
    _check_names(request.inputs)
    inputs = request.inputs

    def analyze(edits: tuple[Edit, ...]) -> Analysis:
        return analyze_columns(
            session,
            inputs,
            edits,
            assumptions=request.assumptions,
            allow_real_run=request.allow_real_run,
            zeros=request.zeros,
        )

    analysis, baseline = analyze(request.edits), against
    if against is None and request.edits:
        try:
            baseline = analyze(())
        except EngineError as error:
            if any(condition.needs_reference for condition in request.conditions):
                raise
            _complain(f"No comparison with the unedited model, which stops: {_sentence(error)}")
    if request.save_model:
        _save_model(request.save_model, request.fix_sizes, session, analysis)
    if request.ort_profile:
        from engine.latency.onnx_imported import imported_times

        times = imported_times(session, analysis.configuration, request.ort_profile)
        analysis = with_latency(analysis, None, times)
    if request.latency:
        return _measured(request, session, analysis, baseline)
    return analysis, baseline


def _save_model(path: str, fix_sizes: bool, session: OpenModel, analysis: Analysis) -> None:
    """Write the edited model; what there is to know about it goes where errors go."""

    def progress(done: int, total: int | None, what: str) -> None:
        _progress(f"{what} {done / total:.0%}" if total else what)

    with _progress_line():
        note = session.save(analysis.configuration, path, fix_sizes=fix_sizes, progress=progress)
    _complain(f"Saved {path}. {note}".strip())


def _measured(
    request: Request, session: OpenModel, analysis: Analysis, baseline: Analysis | None
) -> tuple[Analysis, Analysis | None]:
    """Both with what they really cost; a ``baseline`` out of a report stays as it is."""
    from engine.api import measure_columns
    from engine.guard import limited_memory

    ours = baseline if request.against is None else None
    options: dict[str, Any] = {
        "threads": request.threads,
        "tier": request.tier,
        "runtime": request.runtime,
        "progress": _progress,
    }
    with _exit_at_interrupt(), limited_memory(request.threads), _progress_line():
        analysis = measure_columns(
            session, analysis, against=ours.configuration if ours is not None else None, **options
        )
        if ours is not None:
            baseline = measure_columns(session, ours, **options)
    return analysis, baseline


@contextlib.contextmanager
def _exit_at_interrupt() -> Iterator[None]:
    """While this is open, Ctrl-C ends the process at once, whatever the measuring thread is doing.

    A forward pass in another thread cannot be interrupted, and an interpreter that ends while one runs in C++ aborts
    ("terminate called without an active exception"). Nothing of ours is half written then.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield  # whoever runs this deals with it, or wants it ignored
        return

    def leave(number: int, frame: FrameType | None) -> None:
        # The model or its progress may be writing to sys.stderr right now, which takes no second writer.
        clear = b"\r\x1b[K" if os.isatty(2) else b""
        with contextlib.suppress(OSError):
            os.write(2, clear + b"misnomer: Interrupted.\n")
        os._exit(INTERRUPTED)

    signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _progress(what: str) -> None:
    """What is being done, on a line that the next one overwrites; only for somebody who watches."""
    if sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{what} …")
        sys.stderr.flush()


@contextlib.contextmanager
def _progress_line() -> Iterator[None]:
    """Afterwards the line of :func:`_progress` is empty again."""
    try:
        yield
    finally:
        if sys.stderr is not None and sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _check_names(given: tuple[InputShape, ...]) -> None:
    """Raises InputError when one input is given twice."""
    names = [each.name for each in given if each.name]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"--input gives {name} more than once.")


def write_stdout(data: bytes) -> None:
    """The report as it is, whatever encoding and line ends the console would like."""
    if sys.stdout is None:
        raise ExportError("There is no standard output to write to.", hint="Give a file with -o.")
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.flush()


@contextlib.contextmanager
def _private_stdout() -> Iterator[None]:
    """While this is open, what libraries print goes to standard error, also from C and child processes."""
    saved = None
    with contextlib.suppress(OSError):
        if sys.stdout is not None:
            sys.stdout.flush()
        saved = os.dup(1)
        os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if saved is not None:
            os.dup2(saved, 1)
            os.close(saved)


def _run_elsewhere(python: str, framework: str, arguments: list[str]) -> int:
    """The same command in the interpreter ``python``, which needs ``framework``; its exit status."""
    root = Path(__file__).resolve().parent.parent
    command = [python, "-c", _ELSEWHERE, framework, str(root), *_without_python(arguments)]
    try:
        status = subprocess.run(command, check=False).returncode
    except OSError as error:
        raise InputError(f"--python {python} cannot be started: {reason(error)}.") from error
    if status in (OK, BAD_REQUEST, CONDITION_HOLDS, INTERRUPTED):
        return status
    if status != BUG:
        _complain(f"{python} ended with status {status}.")
    return BUG


def _without_python(arguments: list[str]) -> list[str]:
    """``arguments`` less ``--python PATH`` and ``--python=PATH``."""
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if not skip and argument != "--python" and not argument.startswith("--python="):
            kept.append(argument)
        skip = argument == "--python"
    return kept
