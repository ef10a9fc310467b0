"""TorchScript archives: loaded with consent, analysed and measured; what they compute cannot be edited.

Nothing is called in Python but the model as a whole, so operations are named after the owner of the weight they read,
and those without a weight belong to the model. The module tree is shown by a mirror of plain modules that hold the
archive's own tensors; TorchScript's modules take neither hooks nor other tensors.
"""

from __future__ import annotations

import inspect
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from engine import confine
from engine.contents import Contents, shown
from engine.errors import EngineError, LoadError, is_out_of_memory
from engine.loaders.asking import agreed_script
from engine.loaders.file_consent import HAS_RUN, IN_MEMORY, AgreedFile
from engine.loaders.guess import guess_binding
from engine.loaders.inputs import InputBinding
from engine.loaders.loaded import LoadedModel, LoadOptions
from engine.loaders.zeros import zeros_of
from engine.results import ModelInfo
from engine.sources import FileSource

NO_EDITS = (
    "TorchScript is compiled code: no layer of it can be removed or changed. "
    "Edit the Python model it was made from."
)
_FAILURES = (RuntimeError, torch.jit.Error)
"""What the interpreter raises: of an operation, of ``raise`` and ``assert``."""
_LAST_LINE = re.compile(r"^(?:RuntimeError|torch\.jit\.Error): ?(.*)\Z", re.MULTILINE | re.DOTALL)


def open_file(contents: Contents, file: FileSource, options: LoadOptions) -> LoadedModel:
    """The model of a TorchScript archive.

    Raises ConsentRequiredError before it is loaded, LoadError for all that goes wrong meanwhile.
    """
    trusted = agreed_script(contents, file, options)
    script = _load(contents, trusted, "meta")
    module = _mirror(script, "meta")
    binding = _guess(script, module)
    info = ModelInfo(
        name=type(module).__name__,
        source=contents.file,
        format="torchscript",
        sha256=trusted.digest,
        class_name=type(module).__name__,
        note=" ".join(_notes(module, binding)),
        weights=contents.file,
        no_edits=NO_EDITS,
    )

    def build_real() -> nn.Module:
        return _mirror(_load(contents, trusted, "cpu"), "cpu")

    return LoadedModel(
        info,
        module,
        binding,
        build_real,
        guessed_inputs=True,
        count_zeros=lambda stop: zeros_of(build_real(), stop),
        counting_builds=True,
    )


def _notes(module: nn.Module, binding: InputBinding | None) -> Iterator[str]:
    if "constants" in module._modules and type(module._modules["constants"]) is _Mirrored:
        yield "Its weights were frozen into constants; these count as parameters, and what was computed from them."
    if binding is not None:
        yield "The file says nothing about inputs; this one was guessed from its layers."


def _load(contents: Contents, trusted: AgreedFile, device: str) -> Any:
    """The ScriptModule with its tensors on ``device``, in eval mode. Raises LoadError."""
    name = shown(Path(contents.file).name)
    try:
        with trusted.open() as handle, _quietly():
            script = torch.jit.load(_openable(handle, contents.size), map_location="cpu")  # type: ignore[no-untyped-call]
            _to_eval(script)
            if device == "meta":
                _to_meta(script)
    except EngineError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise LoadError(
                f"Loading {name} needed more memory than is free.",
                hint=f"{HAS_RUN} Close other programs.",
                file=contents.file,
            ) from error
        raise LoadError(
            f"torch cannot load {name}: {_reason(error)}",
            hint=f"{HAS_RUN} "
            + (
                confine.network_hint(error)
                or "It is damaged, or needs operations of a library that is not here."
            ),
            file=contents.file,
        ) from error
    return script


def _openable(handle: BinaryIO, size: int) -> Any:
    """What torch.jit.load takes for an open file: it copies a file object into memory, but opens a path itself."""
    if size > IN_MEMORY and sys.platform == "linux":
        return f"/proc/self/fd/{handle.fileno()}"
    return handle


@contextmanager
def _quietly() -> Iterator[None]:
    """Without torch's advice to whoever writes TorchScript files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _to_eval(script: Any) -> None:
    """Frozen modules are in eval mode for good and have no mode to set."""
    for _, part in script.named_modules():
        if part._c.hasattr("training"):
            part._c.setattr("training", False)


def _to_meta(script: Any) -> None:
    """Drops the values of parameters and buffers; those of constants are kept, a forward pass may read them."""
    made: dict[int, Tensor] = {}
    kept: list[Tensor] = []
    for _, part in script.named_modules():
        for store in (part.named_parameters(recurse=False), part.named_buffers(recurse=False)):
            for name, tensor in list(store):
                kept.append(tensor)
                if id(tensor) not in made:
                    made[id(tensor)] = torch.empty_like(tensor, device="meta")
                part._c.setattr(name, made[id(tensor)])
    for _, part in script.named_modules():
        for name in _attributes(part._c):
            value = part._c.getattr(name)
            if isinstance(value, list) and any(id(each) in made for each in value):
                # A recurrent layer keeps its parameters in a list, too, and computes with those.
                part._c.setattr(name, [made.get(id(each), each) for each in value])


def _attributes(part: Any) -> set[str]:
    """Names of the attributes that the methods of ``part`` read of their own module."""
    names = set()
    for method in part._method_names():
        graph = part._get_method(method).graph
        own = next(graph.inputs()).debugName()
        for node in graph.findAllNodes("prim::GetAttr"):
            if next(node.inputs()).debugName() == own:
                names.add(node.s("name"))
    return names


def _frozen_weights(script: Any, device: str) -> dict[str, Tensor]:
    """The weights of a frozen model, which are constants of its graph, on ``device``; of another model nothing."""
    found: dict[str, Tensor] = {}
    if any(True for _ in script.parameters()):
        return found
    for node in script.forward.graph.findAllNodes("prim::Constant"):
        if not node.hasAttribute("value") or node.kindOf("value") != "t":
            continue
        tensor = node.t("value")
        if tensor.is_floating_point() and tensor.dim() > 0:
            if device == "meta":
                node.t_("value", torch.empty_like(tensor, device="meta"))
            found[f"c{len(found)}"] = node.t("value")
    return found


class _Mirrored(nn.Module):
    """A module of the archive: its class's name, its tensors, its children. Only the outermost is called in earnest."""

    def forward(self, error: BaseException | None = None) -> None:
        """Called to say that TorchScript calls the module it stands for, or that ``error`` left it."""
        if error is not None:
            raise error


def _mirror(script: Any, device: str) -> nn.Module:
    """Plain modules with the names, classes and tensors of ``script``; calling the outermost calls ``script``."""
    module = _reflected(script)
    frozen = _frozen_weights(script, device)
    if frozen:
        constants = module._modules["constants"] = _Mirrored()
        for name, tensor in frozen.items():
            _register(constants._parameters, name, tensor)
    if device == "meta":
        vars(module)["forward"] = _traced_forward(script, module)
    else:
        vars(module)["forward"] = _real_forward(script)
    return module.eval()


def _reflected(part: Any) -> nn.Module:
    module: nn.Module = type(str(part.original_name), (_Mirrored,), {})()
    for name, tensor in part.named_parameters(recurse=False):
        _register(module._parameters, name, tensor)
    for name, tensor in part.named_buffers(recurse=False):
        module._buffers[name] = tensor
    for name, child in part.named_children():
        module._modules[name] = _reflected(child)
    return module


def _register(store: Any, name: str, tensor: Tensor) -> None:
    """Parameters of TorchScript are plain tensors; the very ones that it computes with have to be known."""
    store[name] = tensor


def _called(script: Any) -> list[str]:
    """Paths of the modules that ``forward`` calls, directly or not, in whichever branch."""
    paths: dict[str, None] = {}
    seen: set[tuple[str, str]] = set()
    pending: list[tuple[Any, str, str]] = [(script._c, "", "forward")]
    while pending:
        part, path, method = pending.pop()
        if (path, method) in seen or not part._has_method(method):
            continue
        seen.add((path, method))
        graph = part._get_method(method).graph
        parts = {next(graph.inputs()).debugName(): (part, path)}
        for node in graph.findAllNodes("prim::GetAttr"):
            owner = parts.get(next(node.inputs()).debugName())
            value = owner[0].getattr(node.s("name")) if owner is not None else None
            if owner is not None and isinstance(value, torch._C.ScriptModule):
                name = node.s("name")
                parts[node.output().debugName()] = (value, f"{owner[1]}.{name}" if owner[1] else name)
        for node in graph.findAllNodes("prim::CallMethod"):
            callee = parts.get(next(node.inputs()).debugName())
            if callee is not None:
                paths[callee[1]] = None
                pending.append((*callee, node.s("name")))
    return list(paths)


class _OnMeta(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs what TorchScript asks for where weights and inputs are on meta and constants are not.

    Sizes that were traced on the CPU make tensors there; where an operation refuses the mixture it gets meta tensors.
    ``error`` is what left an operation, and ``tensors`` what that was given: the interpreter loses it.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.error: BaseException | None = None
        self.tensors: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten.equal.default and any(isinstance(x, Tensor) and x.is_meta for x in args):
            return False  # the compiler asks whether two constants are one
        if _is_about_sizes(args):
            with _disable_current_modes():
                return func(*args, **kwargs)
        try:
            return self._run(func, args, kwargs)
        except BaseException as error:
            self.error, self.tensors = error, _tensors(args, kwargs)
            raise

    def _run(self, func: Any, args: Any, kwargs: Any) -> Any:
        try:
            return func(*args, **kwargs)
        except (RuntimeError, NotImplementedError):
            if len({tensor.is_meta for tensor in _tensors(args, kwargs)}) < 2:
                raise
            args, kwargs = pytree.tree_map_only(Tensor, _moved, (args, kwargs))
            return func(*args, **kwargs)


def _tensors(args: Any, kwargs: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]


def _is_about_sizes(args: tuple[Any, ...]) -> bool:
    """Whether an operation computes with single integers on the CPU: so a trace writes down ``x.shape[1] // 2``."""
    tensors = [each for each in args if isinstance(each, Tensor)]
    return bool(tensors) and all(
        tensor.dim() == 0 and tensor.device.type == "cpu" and not tensor.is_floating_point()
        for tensor in tensors
    )


def _moved(tensor: Tensor) -> Tensor:
    """``tensor`` on meta; that is no operation of the model's."""
    if tensor.is_meta:
        return tensor
    with _disable_current_modes():
        return torch.empty_like(tensor, device="meta")


def _traced_forward(script: Any, module: nn.Module) -> Callable[..., Any]:
    """Forward for an analysis: the operations as they were written, and a call of each module that is called.

    ``module`` is the mirror. An error leaves the module whose weight the operation was to read.
    """
    parts = dict(module.named_modules())
    # Not the model itself, whose methods call one another.
    called = [parts[path] for path in _called(script) if path and path in parts]
    owners: dict[int, nn.Module] = {}
    for path, part in parts.items():
        for parameter in part._parameters.values() if path else ():
            owners.setdefault(id(parameter), part)

    def forward(*args: Any, **kwargs: Any) -> Any:
        for part in called:
            part()
        watch = _OnMeta()
        try:
            # Optimised, the interpreter would join and replace operations.
            with torch.jit.optimized_execution(False), watch:  # type: ignore[attr-defined]
                return script(*args, **kwargs)
        except _FAILURES as failure:
            error = watch.error or _understood(failure)
            for tensor in watch.tensors:
                if id(tensor) in owners:
                    owners[id(tensor)](error)
            raise error from failure

    forward.__signature__ = _signature(script)  # type: ignore[attr-defined]
    return forward


def _real_forward(script: Any) -> Callable[..., Any]:
    def forward(*args: Any, **kwargs: Any) -> Any:
        try:
            return script(*args, **kwargs)
        except _FAILURES as error:
            raise _understood(error) from error

    forward.__signature__ = _signature(script)  # type: ignore[attr-defined]
    return forward


def _understood(error: Exception) -> Exception:
    """``error`` of the interpreter as what the model raised."""
    reason = _reason(error)
    kind, _, message = reason.partition(": ")
    return AssertionError(message) if kind == "AssertionError" else RuntimeError(reason)


def _signature(script: Any) -> inspect.Signature:
    """The arguments of forward, without self; those with a default are not required."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = []
    for number, argument in enumerate(script.forward.schema.arguments[1:]):
        name = argument.name if argument.name.isidentifier() else f"input{number}"
        default = argument.default_value if argument.has_default_value() else inspect.Parameter.empty
        parameters.append(inspect.Parameter(name, kind, default=default))
    return inspect.Signature(parameters)


def _reason(error: BaseException) -> str:
    """What went wrong, as a sentence: it stands last in the interpreter's report, after where it did."""
    text = str(error).strip()
    found = _LAST_LINE.search(text)
    lines = (found[1] if found is not None else text).strip().split("\n")
    return f"{shown(lines[0].strip(), 300).rstrip('. :') or 'it stopped without a reason'}."


def _guess(script: Any, module: nn.Module) -> InputBinding | None:
    """An input for the first layer whose class's name and weight say what it takes."""
    stand_in = nn.Module()
    vars(stand_in)["forward"] = vars(module)["forward"]
    for number, part in enumerate(module.modules()):
        layer = _layer_like(part)
        if layer is not None:
            stand_in.add_module(str(number), layer)
    return guess_binding(stand_in)


def _layer_like(part: nn.Module) -> nn.Module | None:
    """The layer of torch that ``part`` was, as far as an input for it depends on it."""
    weight = part._parameters.get("weight")
    kind = type(part).__name__
    with torch.device("meta"):
        if kind in ("Conv1d", "Conv2d", "Conv3d") and weight is not None:
            return getattr(nn, kind)(weight.shape[1], weight.shape[0], 1, dtype=weight.dtype)  # type: ignore[no-any-return]
        if kind == "Embedding" and weight is not None:
            return nn.Embedding(*weight.shape)
        if kind == "Linear" and weight is not None:
            return nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
        first = part._parameters.get("weight_ih_l0")
        if kind in ("LSTM", "GRU", "RNN") and first is not None:
            return getattr(nn, kind)(first.shape[1], 1, batch_first=True, dtype=first.dtype)  # type: ignore[no-any-return]
    return None
