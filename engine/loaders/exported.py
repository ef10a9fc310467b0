"""Exported programs (``torch.export.save``): opened after consent, outlined into the layers they were exported from.

``torch.export.load`` can unpickle and evaluates expressions as Python. Without consent only the description of our own
reader is given (``engine.files.pt2``).
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from engine.contents import Contents, shown
from engine.errors import EngineError, LoadError, is_out_of_memory
from engine.loaders.asking import agreed_program
from engine.loaders.exported_devices import on_cpu
from engine.loaders.exported_inputs import (
    Signature,
    bind,
    bind_unguarded,
    exported_sizes,
    fixes_sizes,
    read_signature,
)
from engine.loaders.exported_layer import ExportedLayer
from engine.loaders.file_consent import HAS_RUN, AgreedFile
from engine.loaders.isolation import UserModules
from engine.loaders.loaded import LoadedModel, LoadOptions
from engine.loaders.outline import outline
from engine.loaders.packages import first_line
from engine.loaders.stand_ins import register_stand_ins
from engine.loaders.weights import Weights
from engine.loaders.zeros import zeros_of
from engine.results import ModelInfo
from engine.sources import UNGUARDED, FileSource, short

_LOGGERS = ("torch.export", "torch._export")
"""Of everything that torch.export.load does."""
_EXTENSIONS = {
    "torchvision": "torchvision",
    "quantized_decomposed": "torch.ao.quantization.fx._decomposed",
}
"""Namespace of operations → the module of ours that registers them."""


def open_file(contents: Contents, file: FileSource, options: LoadOptions) -> LoadedModel:
    """The program in ``file`` on meta, at the sizes it was exported for; at all others with the part ``unguarded``.

    Raises ConsentRequiredError before anything of it runs, UnsupportedModelError for an archive without a program,
    LoadError for every way a file can be wrong.
    """
    name = Path(contents.file).name
    trusted = agreed_program(contents, file, options)
    _check_operations(contents, name)
    stored = _Stored(contents, trusted)
    program = stored.program
    signature = read_signature(program)
    unguarded = str(file._replace(part=UNGUARDED))
    is_unguarded = file.part == UNGUARDED
    is_fixed = fixes_sizes(signature) and not is_unguarded
    module = stored.on_meta()
    info = ModelInfo(
        name=Path(name).stem,
        source=str(file),
        format="pt2",
        sha256=trusted.digest,
        class_name=type(module).__name__,
        note=_note(program, signature, is_unguarded=is_unguarded),
        weights=contents.file,
        fixed_sizes=_fixed(signature, name) if is_fixed else "",
        unguarded=unguarded if is_fixed else "",
    )
    return LoadedModel(
        info,
        module,
        bind_unguarded(signature) if is_unguarded else bind(signature, shown(name), short(unguarded)),
        stored.build_real,
        world=stored.world,
        count_zeros=lambda stop: zeros_of(stored.build_real(), stop),
        counting_builds=True,
    )


class _Stored:
    """A program without its weights, and the file that has them."""

    def __init__(self, contents: Contents, trusted: AgreedFile) -> None:
        self._contents = contents
        self._trusted = trusted
        self.world = trusted.world()
        group = next((each for each in contents.groups if each.role == "model"), None)
        self._weights = Weights(contents, group) if group is not None else None
        self.program = _loaded(contents, trusted, self.world)
        self._state = _each(self.program.state_dict, _on_meta)
        self.program.state_dict.clear()
        for node in self.program.graph.nodes:
            node.meta = {key: node.meta[key] for key in ("nn_module_stack", "val") if key in node.meta}

    def on_meta(self) -> ExportedLayer:
        """Without values."""
        return self._outlined(self._state, _each(self.program.constants, _on_meta))

    def build_real(self) -> ExportedLayer:
        """With the file's weights."""
        # A forward pass may write to what it holds.
        return self._outlined(
            _each(self._read(), lambda tensor: tensor), _each(self.program.constants, Tensor.clone)
        )

    def _outlined(self, tensors: Mapping[str, Tensor], constants: Mapping[str, Any]) -> ExportedLayer:
        """The program's layers with these parameters, buffers and constants."""
        try:
            return outline(self.program, tensors, constants).eval()
        except EngineError as error:
            error.file = error.file or self._contents.file
            raise
        except Exception as error:
            name = shown(Path(self._contents.file).name)
            raise LoadError(
                f"The operations of {name} cannot be arranged by layers: "
                f"{type(error).__name__}: {first_line(error)}",
                hint="Export it again; what it holds is listed without running it.",
                file=self._contents.file,
            ) from error

    def _read(self) -> dict[str, Tensor]:
        """The weights from their bytes; where they are pickled, or the archive is an old one, by torch's loader."""
        names = self._state.keys()
        if self._weights is not None and self._weights.rows.keys() == names:
            with suppress(LoadError), self._weights.open() as opened:
                return {name: self._like(name, opened.tensor(name)) for name in names}
        return dict(_loaded(self._contents, self._trusted, self.world).state_dict)

    def _like(self, name: str, tensor: Tensor) -> Tensor:
        """``tensor`` as what the program has under that name."""
        model = self._state[name]
        if isinstance(model, nn.Parameter):
            return nn.Parameter(tensor, requires_grad=model.requires_grad)
        return tensor


# -- before it is loaded -------------------------------------------------------------------------------------------


def _check_operations(contents: Contents, name: str) -> None:
    """Raises LoadError when an operation is not registered in this process; libraries that could are not imported."""
    for namespace, module in _EXTENSIONS.items():
        if any(each.name.startswith(f"torch.ops.{namespace}.") for each in contents.operations):
            importlib.import_module(module)
    for operation in contents.operations:
        parts = operation.name.split(".")
        if parts[:2] != ["torch", "ops"] or len(parts) < 4 or parts[2] == "higher_order":
            continue
        value: Any = getattr(torch.ops, parts[2])
        for part in parts[3:]:
            value = getattr(value, part, None)
        if value is None:
            raise LoadError(
                f"{shown(name)} uses the operation {shown('.'.join(parts[2:]))}, which torch {torch.__version__} "
                "does not have.",
                hint="It belongs to another version of torch, or to a library whose operations are not loaded here.",
                file=contents.file,
            )


# -- loading -------------------------------------------------------------------------------------------------------


def _loaded(contents: Contents, file: AgreedFile, world: UserModules) -> ExportedProgram:
    """What torch.export.load makes of exactly the bytes that were agreed to. Raises LoadError."""
    name = Path(contents.file).name
    swallowed: list[BaseException] = []
    try:
        with world.active(), file.open() as handle, _export_log(swallowed):
            register_stand_ins(handle)
            return torch.export.load(on_cpu(handle))
    except EngineError:
        raise
    except (Exception, SystemExit) as error:
        # What it says when it has written the cause to its log.
        cause = swallowed[-1] if swallowed and "check the warnings above" in str(error) else error
        if is_out_of_memory(cause):
            raise LoadError(
                f"Loading {shown(name)} needed more memory than is free.",
                hint=f"{HAS_RUN} Close other programs.",
                file=contents.file,
            ) from error
        raise LoadError(
            f"torch {torch.__version__} cannot load {shown(name)}, which {contents.producer} wrote: "
            f"{type(cause).__name__}: {first_line(cause)}",
            hint=f"{HAS_RUN} {_load_advice(contents)}",
            file=contents.file,
        ) from error


def _load_advice(contents: Contents) -> str:
    if contents.producer.partition("+")[0] != f"torch {torch.__version__}".partition("+")[0]:
        return "Export it again with this version of torch, or run the engine in the one it was made with (--python)."
    return "It may be damaged: get it again, or export it again."


@contextmanager
def _export_log(swallowed: list[BaseException]) -> Iterator[None]:
    """Keeps torch's records out of the log; it writes there why it tries an older format, and drops the exception."""

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info and record.exc_info[1] is not None:
                swallowed.append(record.exc_info[1])

    # torch gives several of them a handler of their own, each of which writes to stderr.
    loggers = [
        logging.getLogger(name)
        for name in (*_LOGGERS, *logging.root.manager.loggerDict)
        if name.startswith(_LOGGERS)
    ]
    before = [(each, each.handlers, each.propagate) for each in loggers]
    for each in loggers:
        is_top = each.name in _LOGGERS
        each.handlers, each.propagate = ([Keeping()] if is_top else []), not is_top
    try:
        yield
    finally:
        for each, handlers, propagate in before:
            each.handlers, each.propagate = handlers, propagate


def _each(tensors: Mapping[str, Any], make: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """What ``make`` gives, once for all names that mean the same memory; what is no tensor stays as it is."""
    made: dict[tuple[Any, ...], Tensor] = {}
    for value in tensors.values():
        if isinstance(value, Tensor) and _memory(value) not in made:
            made[_memory(value)] = make(value)
    return {
        name: made[_memory(value)] if isinstance(value, Tensor) else value for name, value in tensors.items()
    }


def _on_meta(tensor: Tensor) -> Tensor:
    empty = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def _memory(tensor: Tensor) -> tuple[Any, ...]:
    """Equal for tensors that mean the same memory."""
    if tensor.numel() and type(tensor.data) is Tensor:
        return tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype
    return (id(tensor),)


# -- what is said about it -----------------------------------------------------------------------------------------


def _fixed(signature: Signature, name: str) -> str:
    some_vary = any(not isinstance(size, int) for each in signature.tensors for size in each.sizes)
    which = "its other sizes are" if some_vary else "these sizes are"
    return f"{shown(name)} was exported for {exported_sizes(signature)}; {which} written into it."


def _note(program: ExportedProgram, signature: Signature, *, is_unguarded: bool) -> str:
    notes = []
    if is_unguarded:
        notes.append(
            f"Sizes other than those of the export ({exported_sizes(signature)}) were not promised by it."
        )
    if any(_is_training(node) for node in program.graph.nodes):
        notes.append("It was exported in training mode: normalisation uses the statistics of its input.")
    return " ".join(notes)


def _is_training(node: fx.Node) -> bool:
    """Whether a node is a batch norm that computes statistics of its input."""
    if node.op != "call_function" or "batch_norm" not in str(node.target):
        return False
    schema = getattr(node.target, "_schema", None)
    names = [each.name for each in schema.arguments] if schema is not None else []
    given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    return given.get("training") is True
