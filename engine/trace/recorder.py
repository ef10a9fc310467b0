"""The dispatch mode that records executed operations, who owns them, and how long their results live.

Speed decides the design: this runs for every operation on every slider tick. Each operation costs one dictionary
look-up of its signature (operator, shapes, dtypes, attributes); everything derived from a signature is computed once.
"""

from __future__ import annotations

import math
import weakref
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from threading import Event
from time import monotonic
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from engine.graph import OpCall, Shape
from engine.trace.modules import ModuleStack
from engine.trace.ops import SILENT, TRANSFERS, OpInfo, dtype_name, op_info
from engine.trace.weights import Held, Weight, WeightFollower

MAX_ALIKE = 16
"""Rows for calls of one operation within one call of a module; further calls that are alike join the last row. Loops
over a hundred detections would otherwise make thousands of rows that tell nothing."""

LOOKUPS = frozenset({"embedding", "index_select", "gather", "index", "take", "take_along_dim"})
"""Operations that read as many elements of their first argument as they write."""

PROGRESS_EVERY = 64
PROGRESS_S = 0.05
"""Operations and seconds after which progress is reported, whichever comes first."""


class StopTrace(BaseException):
    """Leaves a forward pass that should stop; no ``except Exception`` of a model's own can swallow it."""


class Signature:
    """One operator at one combination of shapes, dtypes and attributes, with its OpCall."""

    __slots__ = ("call", "dtype", "info")

    def __init__(self, info: OpInfo, call: OpCall, dtype: str) -> None:
        self.info = info
        self.call = call
        self.dtype = dtype


class Row:
    """All calls of one operation of one module at one signature."""

    __slots__ = (
        "activation_bytes", "calls", "id", "live_bytes", "param_elements", "params", "path", "reads", "signature",
        "weight_bytes", "weights",
    )  # fmt: skip

    def __init__(self, id: str, path: str, signature: Signature) -> None:
        self.id = id
        self.path = path
        self.signature = signature
        self.calls = 0
        self.activation_bytes = 0
        self.live_bytes = 0
        self.params: tuple[str, ...] = ()
        self.reads: tuple[int, ...] = ()
        """Elements read of each of params."""
        self.param_elements = 0
        self.weight_bytes = 0
        self.weights: tuple[Weight | None, ...] | None = ()
        """Per entry of OpCall.inputs the parameter it is, where weights are followed; None: not the same ones in
        every call."""


class ParameterRef:
    """A parameter as the recorder meets it: first registered name, owner's path, size."""

    __slots__ = ("element_bytes", "elements", "name", "owners")

    def __init__(self, name: str, owners: tuple[str, ...], parameter: Tensor) -> None:
        self.name = name
        self.owners = owners
        self.elements = parameter.numel()
        self.element_bytes = parameter.element_size()


def parameter_refs(model: nn.Module) -> dict[int, ParameterRef]:
    """By id of the tensor: every distinct parameter with all modules that register it."""
    owners: dict[int, list[str]] = {}
    first: dict[int, tuple[str, Tensor]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(name.rpartition(".")[0])
        first.setdefault(id(parameter), (name, parameter))
    return {key: ParameterRef(name, tuple(owners[key]), tensor) for key, (name, tensor) in first.items()}


class Recorder(TorchDispatchMode):
    """Records into ``rows``; enter it around one forward pass inside ``stack.watching()``.

    ``static`` are the storages that are no activations: weights, buffers, inputs.
    ``fast`` answers operations with a shortcut itself; without it every operation runs its own kernel.
    ``intercept`` may answer operations whose result depends on data (see engine.trace.assume).
    ``stop`` is asked before every operation; when set, StopTrace leaves the forward pass.
    """

    def __init__(
        self,
        stack: ModuleStack,
        refs: dict[int, ParameterRef],
        static: Iterable[Any],
        *,
        fast: bool = True,
        intercept: Callable[[OpInfo, Any, tuple[Any, ...], dict[str, Any], str], Any] | None = None,
        stop: Event | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__()
        self.rows: dict[Any, Row] = {}
        self.row_ids: dict[str, int] = {}
        self.calls = 0
        self.touched: set[str] = set()
        self.live = 0
        self.peak = 0
        self.current: tuple[OpInfo, tuple[Any, ...], dict[str, Any], str] | None = None
        """The operation being executed, for the sentence when it fails."""
        self._stack = stack
        self._fast = fast
        self._follower: WeightFollower | None = None
        self._intercept = intercept
        self._stop = stop
        self._progress = progress
        self._progress_at = monotonic()
        self._signatures: dict[Any, Signature] = {}
        self._refs = dict(refs)
        self._held: list[Any] = list(static)
        """Storages that are no activations and views of parameters, kept so that their addresses stay theirs."""
        self._static = {storage._cdata for storage in self._held}
        self._storages: dict[int, tuple[weakref.ref[Any], int]] = {}

    def follow_weights(self, holds: Mapping[int, Held], inputs: Iterable[Any]) -> None:
        """Let the rows know which operands are weights; ``inputs`` are the storages of the model's inputs."""
        sizes = {ref.name: ref.elements for ref in self._refs.values()}
        given: dict[int, Any] = dict.fromkeys(storage._cdata for storage in inputs)
        made: dict[int, Any] = self._storages
        self._follower = WeightFollower(sizes, holds, ChainMap(made, given))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here; the guard around every operation that torch adds otherwise costs 2 µs."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._stop is not None and self._stop.is_set():
            raise StopTrace
        info = op_info(func)
        kwargs = kwargs or {}
        path = self._stack.frames[-1].path
        self.current = (info, args, kwargs, path)
        out: Any = NotImplemented
        if self._fast and info.shortcut is not None:
            out = info.shortcut(*args, **kwargs)
        if out is NotImplemented and self._intercept is not None:
            out = self._intercept(info, func, args, kwargs, path)
        if out is NotImplemented:
            out = func(*args, **kwargs)
        if info.tracked:
            self._record(info, args, kwargs, out)
        self.current = None
        return out

    # -- one operation -------------------------------------------------------------------------------------------

    def _record(self, info: OpInfo, args: Any, kwargs: dict[str, Any], out: Any) -> Row | None:
        """The row that this call counts in; None for a call that is no row."""
        refs: list[tuple[ParameterRef, int]] = []
        key_parts: list[Any] = [info]
        for value in args:
            key_parts.append(self._key(value, refs))
        for name, value in kwargs.items():
            key_parts.append(name)
            key_parts.append(self._key(value, refs))
        outputs: list[Tensor] = []
        _collect(out, outputs)
        for tensor in outputs:
            key_parts.append(tensor.shape)
            key_parts.append(tensor.dtype)
        if not outputs and not _has_tensor(args):
            return None  # a query that neither reads nor makes a tensor
        created, is_view = self._account(info, args, outputs)
        key_parts.append(is_view)

        frame = self._stack.frames[-1]
        path = frame.path
        if refs:
            path = self._owner(refs, path)
            if is_view:
                self._follow_views(refs, outputs)
                if self._follower is not None:
                    self._follower.view(args, outputs)
                refs = []
        name = info.name
        if name in SILENT and not created:
            return None
        ordinal_key = (path, name)
        ordinal = frame.counts.get(ordinal_key, 0)
        frame.counts[ordinal_key] = ordinal + 1
        if ordinal >= MAX_ALIKE:
            ordinal = MAX_ALIKE - 1

        key = tuple(key_parts)
        row_key = (path, ordinal, key)
        row = self.rows.get(row_key)
        if row is None:
            signature = self._signatures.get(key)
            if signature is None:
                signature = self._new_signature(info, args, kwargs, outputs, is_view)
                self._signatures[key] = signature
            row = self.rows[row_key] = self._new_row(signature, path, ordinal, refs)
            if self._follower is not None and not is_view:
                row.weights = self._follower.weights(info, args, kwargs)
        elif self._follower is not None and self._follower.any_computed and not is_view:
            if row.weights != self._follower.weights(info, args, kwargs):
                row.weights = None
        if self._follower is not None and not is_view:
            self._follower.executed(info, args, kwargs, outputs)
        row.calls += 1
        row.activation_bytes += created
        if self.live > row.live_bytes:
            row.live_bytes = self.live
        self.calls += 1
        if self._progress is not None:
            now = monotonic()
            if self.calls % PROGRESS_EVERY == 0 or now - self._progress_at >= PROGRESS_S:
                self._progress_at = now
                self._progress(self.calls)
        return row

    def _key(self, value: Any, refs: list[tuple[ParameterRef, int]]) -> Any:
        """``value`` as a hashable part of the signature; parameters among the tensors are added to ``refs``."""
        kind = type(value)
        # 1, 1.0 and True are equal as keys but not as attributes.
        if kind is int:
            return value
        if kind is float or kind is bool:
            return (kind, value)
        if isinstance(value, Tensor):
            ref = self._refs.get(id(value))
            if ref is not None:
                refs.append((ref, value.numel()))
                return (value.shape, value.dtype, ref.name)
            return (value.shape, value.dtype)
        if isinstance(value, (list, tuple)):
            return tuple([self._key(part, refs) for part in value])
        try:
            hash(value)
        except TypeError:
            return repr(value)
        return (kind, value)

    def _owner(self, refs: list[tuple[ParameterRef, int]], path: str) -> str:
        """The module whose weight is used: the one being called where it registers the tensor, else the first."""
        owners = refs[0][0].owners
        return path if path in owners else owners[0]

    def _follow_views(self, refs: list[tuple[ParameterRef, int]], outputs: list[Tensor]) -> None:
        """A view of a parameter counts as that parameter when an operation reads it."""
        for tensor in outputs:
            self._refs[id(tensor)] = refs[0][0]
            self._held.append(tensor)

    def _account(self, info: OpInfo, args: Any, outputs: list[Tensor]) -> tuple[int, bool]:
        """(bytes of storages this operation created, whether it only passed a view on).

        A storage is alive until the last tensor on it is gone.
        """
        if info.inplace:
            return 0, False
        created = 0
        is_view = bool(outputs)
        for tensor in outputs:
            storage = tensor.untyped_storage()
            cdata = storage._cdata
            if cdata in self._storages or cdata in self._static:
                continue
            if (info.may_alias or _is_argument(tensor, args)) and self._shares_storage(cdata, args):
                # A constant the model holds outside its parameters and buffers.
                self._static.add(cdata)
                self._held.append(storage)
                continue
            if info.name in TRANSFERS and _only_moves(args[0], tensor):
                # A real run makes this tensor where it is needed and copies nothing: it lives on in the source.
                self._keep_alive(storage, args[0].untyped_storage())
                continue
            if info.name == "lift_fresh":
                self._static.add(cdata)
                self._held.append(storage)
                continue
            is_view = False
            size = storage.nbytes()
            created += size
            self._storages[cdata] = (weakref.ref(storage, self._make_release(cdata)), size)
        if created:
            self.live += created
            if self.live > self.peak:
                self.peak = self.live
        return created, is_view

    def _keep_alive(self, storage: Any, source: Any) -> None:
        """``storage`` costs nothing of its own, but ``source`` lives at least as long."""
        cdata = storage._cdata

        def release(_: Any, source: Any = source) -> None:
            self._storages.pop(cdata, None)
            if self._follower is not None:
                self._follower.forget(cdata)

        self._storages[cdata] = (weakref.ref(storage, release), 0)

    def _make_release(self, cdata: int) -> Callable[[Any], None]:
        def release(_: Any) -> None:
            entry = self._storages.pop(cdata, None)
            if self._follower is not None:
                self._follower.forget(cdata)
            if entry is not None:
                self.live -= entry[1]

        return release

    @staticmethod
    def _shares_storage(cdata: int, args: Any) -> bool:
        tensors: list[Tensor] = []
        _collect(args, tensors)
        return any(tensor.untyped_storage()._cdata == cdata for tensor in tensors)

    # -- first time ----------------------------------------------------------------------------------------------

    def _new_row(
        self, signature: Signature, path: str, ordinal: int, refs: list[tuple[ParameterRef, int]]
    ) -> Row:
        name = signature.info.name
        base = f"{path}:{name}" if ordinal == 0 else f"{path}:{name}.{ordinal}"
        variant = self.row_ids.get(base, 0)
        self.row_ids[base] = variant + 1
        row = Row(base if variant == 0 else f"{base}#{variant + 1}", path, signature)
        read: dict[str, tuple[int, int]] = {}
        for ref, elements in refs:
            so_far = read.get(ref.name, (0, 0))[0]
            read[ref.name] = (min(ref.elements, so_far + elements), ref.element_bytes)
            self.touched.add(ref.name)
        row.params = tuple(read)
        row.reads = tuple([elements for elements, _ in read.values()])
        row.param_elements = sum(elements for elements, _ in read.values())
        row.weight_bytes = sum(elements * size for elements, size in read.values())
        return row

    def _new_signature(
        self,
        info: OpInfo,
        args: Any,
        kwargs: dict[str, Any],
        outputs: list[Tensor],
        is_view: bool,
    ) -> Signature:
        inputs: list[Shape | None] = []
        tensors: list[Tensor] = []
        described: dict[str, object] = dict(info.defaults)
        for name, value in zip(info.arg_names, args, strict=False):
            described[name] = _describe(value, inputs, tensors)
            if value is None and name in info.optional_tensors:
                inputs.append(None)
        for name, value in kwargs.items():
            described[name] = _describe(value, inputs, tensors)
        output_bytes = sum(_distinct_bytes(tensor) for tensor in outputs)
        input_bytes = weight_bytes = 0
        seen: set[int] = set()
        for position, tensor in enumerate(tensors):
            if id(tensor) in seen:
                continue
            seen.add(id(tensor))
            size = _distinct_bytes(tensor)
            if position == 0 and info.name in LOOKUPS:
                size = min(size, output_bytes)
            if id(tensor) in self._refs:
                weight_bytes += size
            else:
                input_bytes += size
        if is_view:
            input_bytes = weight_bytes = output_bytes = 0
        call = OpCall(
            op=info.name,
            inputs=tuple(inputs),
            outputs=tuple(tuple(tensor.shape) for tensor in outputs),
            args=described,
            input_bytes=input_bytes,
            weight_bytes=weight_bytes,
            output_bytes=output_bytes,
            inplace=info.inplace,
        )
        dtype = dtype_name(outputs[0].dtype) if outputs else (dtype_name(tensors[0].dtype) if tensors else "")
        return Signature(info, call, dtype)


def _collect(value: Any, into: list[Tensor]) -> None:
    if isinstance(value, Tensor):
        into.append(value)
    elif isinstance(value, (list, tuple)):
        for part in value:
            _collect(part, into)


def _distinct_bytes(tensor: Tensor) -> int:
    """Bytes of the elements that exist: an expanded dimension repeats them."""
    if tensor.is_contiguous():
        return tensor.numel() * tensor.element_size()
    sizes = [size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride or not size]
    return math.prod(sizes) * tensor.element_size()


def _only_moves(source: Any, result: Tensor) -> bool:
    """Whether ``result`` is ``source`` on another device."""
    return isinstance(source, Tensor) and source.device != result.device and source.dtype == result.dtype


def _is_argument(tensor: Tensor, args: Any) -> bool:
    return any(tensor is argument for argument in args)


def _has_tensor(args: Any) -> bool:
    found: list[Tensor] = []
    _collect(args, found)
    return bool(found)


def _describe(value: Any, inputs: list[Shape | None], tensors: list[Tensor]) -> object:
    if isinstance(value, Tensor):
        shape = tuple(value.shape)
        inputs.append(shape)
        tensors.append(value)
        return shape
    if isinstance(value, (list, tuple)):
        return tuple(_describe(part, inputs, tensors) for part in value)
    if isinstance(value, torch.dtype):
        return dtype_name(value)
    return value
