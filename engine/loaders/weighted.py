"""A model with the weights of a file: which tensor goes where, in which dtype, read when they are needed."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Event

import msgspec
import torch
from torch import Tensor, nn

from engine.contents import Contents, Group
from engine.graph import elements
from engine.loaders import mismatch
from engine.loaders.fit import Fit, Use, fit, moved, unwrapped
from engine.loaders.loaded import LoadedModel, build_without_weights
from engine.loaders.weights import OpenWeights, Weights, dtype_name, sha256_of
from engine.loaders.zeros import ORIGINAL, count_zeros

log = logging.getLogger(__name__)

COMPUTED = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
"""Floating dtypes that layers compute in. Others are only ways to store weights."""
LARGE = 2**28
"""Elements of weights from which on a module is built without values of its own."""
COMPARABLE = 2**26
"""Elements of the largest tensor that is compared with another when a file is opened."""
STORED_ONLY = torch.bfloat16
"""What weights are taken as that are kept in 8 bits alone: it has all their values."""


@dataclass
class _Slot:
    """One tensor of a module: its names in the state dict, none for a buffer that is not saved, and its places."""

    tensor: Tensor
    names: list[str] = field(default_factory=list)
    places: list[tuple[nn.Module, str]] = field(default_factory=list)


def with_weights(
    model: LoadedModel, contents: Contents, group: Group, source: str = "", note: str = ""
) -> LoadedModel:
    """``model``, freshly loaded, with the tensors of ``group`` in ``contents`` as its weights.

    ``source`` is what opens the two again; by default what opens ``model``. The dtype is that of the file, for inputs
    too. What the file lacks stays as ``model`` has it, and the note, which begins with ``note``, says so.
    Raises LoadError when the two do not belong together.
    """
    weights = Weights(contents, group)
    fitted = _fitted(model, weights)
    _set_unreadable_aside(model.module, weights, fitted)
    mismatch.check(fitted, weights, model)
    dtype, words = _common_dtype(model.module, weights, fitted)
    untied = mismatch.untied_note(list(_untied(model.module, weights, fitted)), weights)
    notes = [note, model.info.note, *mismatch.notes(fitted, weights, model.module), untied, words]
    binding = model.binding
    if dtype is not None:
        before = _main_dtype(model.module)
        binding = binding.in_dtype(dtype_name(before), dtype_name(dtype)) if binding is not None else None
        _fill(model.module, partial(_cast_on_meta, dtype))
    info = msgspec.structs.replace(
        model.info,
        source=source or model.info.source,
        format="state dict",
        sha256=sha256_of(contents),
        note=" ".join(note for note in notes if note),
        weights=contents.file,
    )
    counted = list(_parameters(model.module, fitted))
    return replace(
        model,
        info=info,
        binding=binding,
        build_real=partial(_build_real, model.build_real, weights, fitted, dtype),
        random_weights=False,
        count_zeros=partial(_zeros, weights, counted),
        check=weights.check,
    )


def saved_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by the names that ``state_dict()`` gives them, of tied ones each; no hook is run."""
    return {name: slot.tensor for slot in _slots(module) for name in slot.names}


def _slots(module: nn.Module) -> list[_Slot]:
    """Every distinct tensor of ``module``, in the order of its state dict."""
    slots: dict[int, _Slot] = {}
    for prefix, owner in module.named_modules(remove_duplicate=False):
        for key, tensor in (*owner._parameters.items(), *owner._buffers.items()):
            if tensor is None:
                continue
            slot = slots.setdefault(id(tensor), _Slot(tensor))
            slot.places.append((owner, key))
            if key not in owner._non_persistent_buffers_set:
                slot.names.append(f"{prefix}.{key}" if prefix else key)
    return list(slots.values())


def _fill(module: nn.Module, make: Callable[[_Slot], Tensor | None]) -> None:
    """Puts ``make(slot)`` in the place of each tensor, unless it is None; every old one is let go before the next.

    Set as an attribute, because some modules keep their parameters a second time (``nn.LSTM``).
    """
    slots = _slots(module)[::-1]
    while slots:
        slot = slots.pop()
        new = make(slot)
        if new is None:
            continue
        if isinstance(slot.tensor, nn.Parameter):
            new = nn.Parameter(new, requires_grad=slot.tensor.requires_grad)
        for owner, key in slot.places:
            setattr(owner, key, new)


# -- which tensor goes where -------------------------------------------------------------------------------------


def _fitted(model: LoadedModel, weights: Weights) -> Fit:
    wanted = saved_tensors(model.module)
    fitted = fit(weights.shapes, {name: tuple(tensor.shape) for name, tensor in wanted.items()})
    if fitted.missing and fitted.unexpected:
        for target, name in _translated(model, weights, fitted).items():
            if target in fitted.missing and weights.rows[name].shape == tuple(wanted[target].shape):
                fitted.uses[target] = (name,)
                fitted.missing.remove(target)
                fitted.unexpected.remove(name)
    # A file need not repeat a tied tensor under each of its names.
    there = {id(wanted[name]) for name in fitted.uses}
    fitted.missing = [name for name in fitted.missing if id(wanted[name]) not in there]
    return fitted


def _translated(model: LoadedModel, weights: Weights, fitted: Fit) -> dict[str, str]:
    """Module's name → file's name, for names of the module's earlier versions, which its own loading translates."""
    tokens = {name: torch.empty(weights.rows[name].shape, device="meta") for name in fitted.unexpected}
    state = {moved(unwrapped(name), fitted): token for name, token in tokens.items()}
    world = model.world.active() if model.world is not None else nullcontext()
    with world, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values that are not copied to meta
        for prefix, owner in model.module.named_modules():
            try:
                owner._load_from_state_dict(state, f"{prefix}." if prefix else "", {}, False, [], [], [])
            except Exception as error:  # its author wrote it for whole state dicts
                log.debug("%s translates no names: %s", prefix, error)
    names = {id(token): name for name, token in tokens.items()}
    return {target: names[id(token)] for target, token in state.items() if id(token) in names}


def _set_unreadable_aside(module: nn.Module, weights: Weights, fitted: Fit) -> None:
    """What is quantised, sparse or no tensor of torch's cannot be the values of a float tensor."""
    wanted = saved_tensors(module)
    for name, use in list(fitted.uses.items()):
        given = [weights.dtype(each) for each in use]
        if None in given or _kind(given[0]) != _kind(wanted[name].dtype):
            fitted.unreadable[name] = use[0]
            del fitted.uses[name]


def _kind(dtype: torch.dtype | None) -> str:
    if dtype is None:
        return "none"
    return "float" if dtype.is_floating_point else "complex" if dtype.is_complex else "integer"


def _untied(module: nn.Module, weights: Weights, fitted: Fit) -> Iterator[tuple[str, str]]:
    """(name that is taken, name that is not) where the file has different values for one tensor of the module.

    Large ones are not looked at: files often have a tied tensor twice, and to compare them is to read them.
    """
    shared = [[name for name in slot.names if name in fitted.uses] for slot in _slots(module)]
    pairs = [
        (names[0], other)
        for names in shared
        for other in names[1:]
        if weights.rows[fitted.uses[names[0]][0]] != weights.rows[fitted.uses[other][0]]
        and elements(weights.shapes[fitted.uses[other][0]]) <= COMPARABLE
    ]
    if not pairs:
        return
    with weights.open() as opened:
        for taken, other in pairs:
            one, two = (_read(opened, fitted.uses[name]) for name in (taken, other))
            if one.dtype != two.dtype or not torch.equal(one, two):
                yield taken, other


# -- dtypes ------------------------------------------------------------------------------------------------------


def _common_dtype(module: nn.Module, weights: Weights, fitted: Fit) -> tuple[torch.dtype | None, str]:
    """(what all floating tensors of the module become, a sentence about it); None where they are so already.

    A file of one dtype decides. Layers cannot mix dtypes that their author did not mix: of several, that with most
    elements is taken.
    """
    wanted = saved_tensors(module)
    elements: Counter[torch.dtype] = Counter()
    same = True
    for name, use in fitted.uses.items():
        given = weights.dtype(use[0])
        if given is not None and given.is_floating_point:
            elements[given] += wanted[name].numel()
            same = same and given == wanted[name].dtype
    if same:
        return None, ""
    computed = [dtype for dtype in elements if dtype in COMPUTED]
    best = max(computed, key=lambda dtype: elements[dtype], default=STORED_ONLY)
    if set(elements) == {best}:
        return best, ""
    listed = " and ".join(dtype_name(dtype) for dtype, _ in elements.most_common())
    return best, f"Its weights are {listed}; all are taken as {dtype_name(best)}."


def _main_dtype(module: nn.Module) -> torch.dtype:
    """The floating dtype of most elements."""
    elements: Counter[torch.dtype] = Counter()
    for parameter in module.parameters():
        if parameter.is_floating_point():
            elements[parameter.dtype] += parameter.numel()
    return max(elements, key=lambda dtype: elements[dtype], default=torch.float32)


def _cast_on_meta(dtype: torch.dtype, slot: _Slot) -> Tensor | None:
    return torch.empty_like(slot.tensor, dtype=dtype) if slot.tensor.is_floating_point() else None


# -- values ------------------------------------------------------------------------------------------------------


def _build_real(
    build: Callable[[], nn.Module], weights: Weights, fitted: Fit, dtype: torch.dtype | None
) -> nn.Module:
    """The module with the file's weights.

    A large one is built without values of its own, which would take as much memory again, and more in another dtype.
    """
    module = None
    if sum(elements(weights.shapes[use[0]]) for use in fitted.uses.values()) >= LARGE:
        module = build_without_weights(build)
    if module is None:
        module = build()
    with weights.open() as opened:
        _fill(module, partial(_value, opened, fitted.uses, dtype))
        if _is_partly_on_meta(module):
            # The constructor computed with what it had allocated, or the file lacks something.
            module = build()
            _fill(module, partial(_value, opened, fitted.uses, dtype))
    return module


def _is_partly_on_meta(module: nn.Module) -> bool:
    return any(
        isinstance(value, Tensor) and value.is_meta
        for owner in module.modules()
        for store in (owner._parameters, owner._buffers, vars(owner))
        for value in store.values()
    )


def _value(
    opened: OpenWeights, uses: Mapping[str, Use], dtype: torch.dtype | None, slot: _Slot
) -> Tensor | None:
    """What a slot of the real module gets: the file's values, or its own in the common dtype."""
    before = slot.tensor
    wanted = dtype if dtype is not None and before.is_floating_point() else before.dtype
    name = next((name for name in slot.names if name in uses), None)
    if name is None:
        return before.detach().to(wanted) if wanted != before.dtype else None
    return _read(opened, uses[name]).to(wanted).reshape(before.shape).contiguous()


def _read(opened: OpenWeights, use: Use) -> Tensor:
    value = opened.tensor(use[0])
    for mask in use[1:]:
        value = value * opened.tensor(mask).to(value.dtype)
    return value


def _parameters(module: nn.Module, fitted: Fit) -> Iterator[tuple[list[str], Use]]:
    """(all its names, what to take for it) of every parameter whose values the file has."""
    for slot in _slots(module):
        name = next((name for name in slot.names if name in fitted.uses), None)
        use = _computed_with(slot, name, fitted.uses) if name is not None else None
        if use is not None and isinstance(slot.tensor, nn.Parameter):
            yield slot.names, use


def _computed_with(slot: _Slot, name: str, uses: Mapping[str, Use]) -> Use | None:
    """What a layer has in the place of the parameter ``name``: that, times the mask of a pruned module.

    None where the mask is not in the file, and behind a parametrization, of which the file does not say what it makes.
    """
    if ORIGINAL.search(name):
        return None
    owner, key = slot.places[0]
    stem = name.removesuffix("_orig")
    if stem == name or f"{key.removesuffix('_orig')}_mask" not in owner._buffers:
        return uses[name]
    mask = uses.get(f"{stem}_mask")
    return (*uses[name], *mask) if mask is not None else None


def _zeros(weights: Weights, counted: list[tuple[list[str], Use]], stop: Event) -> Iterator[tuple[str, int]]:
    """As ``LoadedModel.count_zeros`` wants them, one tensor in memory at a time."""
    with weights.open() as opened:
        yield from count_zeros(((names, partial(_read, opened, use)) for names, use in counted), stop)
