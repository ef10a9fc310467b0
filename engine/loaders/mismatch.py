"""What a file's weights and an architecture do not have in common: an error when they do not belong together, else a
note."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from engine.contents import shown
from engine.errors import LoadError
from engine.graph import Shape
from engine.loaders.fit import Fit
from engine.loaders.loaded import LoadedModel
from engine.loaders.weights import Weights, dtype_name

NAMED = 3
"""Tensors that a sentence names."""
LEAST_PART = 0.5
"""Of the file's tensors, or of the module's, that must fit."""

_CLASSIFIERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_ZOO = ("torchvision:", "timm:")
_ELSE = "Open {} alone to see which architectures its weights fit."


def check(fitted: Fit, weights: Weights, model: LoadedModel) -> None:
    """Raises LoadError, with the numbers and examples, where the weights are not those of the module.

    Tensors of another shape are an error even when there are few: the module would not be what was trained.
    """
    name, own = shown(weights.file.name), model.info.name
    parameters = dict(model.module.named_parameters(remove_duplicate=False))
    wrong = {target: given for target, given in fitted.other_shape.items() if target in parameters}
    if not fitted.uses and not wrong and not fitted.unreadable:
        raise LoadError(_nothing(fitted, weights, model), hint=_ELSE.format(name), file=str(weights.file))
    if fitted.unreadable and not fitted.uses:
        raise LoadError(
            f"{name} holds the tensors of {own}, and none of them can be taken for {_of_kind(fitted, weights)}.",
            hint="Save the model's state_dict() as plain tensors, with torch.save or safetensors.",
            file=str(weights.file),
        )
    if wrong:
        examples = [
            f"{shown(target)} is {_text(weights.rows[given].shape)} in the file and "
            f"{_text(tuple(parameters[target].shape))} in {own}"
            for target, given in list(wrong.items())[:NAMED]
        ]
        classes = _classes(wrong, weights, model.module, parameters)
        if classes is not None:
            raise LoadError(
                f"{name} was trained for {classes:,} classes, which {own} does not have: {examples[0]}.",
                hint=_with_classes(model.info.source, classes, name),
                file=str(weights.file),
            )
        raise LoadError(
            f"{name} does not fit {own}: {_count(len(wrong), 'tensor')} of it {_have(len(wrong))} another shape, "
            f"{'; '.join(examples)}.",
            hint=_ELSE.format(name),
            file=str(weights.file),
        )
    found = len(fitted.uses) + len(fitted.unreadable)
    given, wanted = found + len(fitted.unexpected), found + len(fitted.missing)
    if found < LEAST_PART * min(given, wanted):
        raise LoadError(
            f"{name} does not fit {own}: only {found:,} of its {given:,} tensors {_are(found)} among the {wanted:,} of "
            f"{own}. {_sides(fitted, own)}",
            hint=_ELSE.format(name),
            file=str(weights.file),
        )


def notes(fitted: Fit, weights: Weights, module: nn.Module) -> list[str]:
    """Sentences about what of the two was left aside."""
    name = shown(weights.file.name)
    parameters = dict(module.named_parameters(remove_duplicate=False))
    buffers = dict(module.named_buffers(remove_duplicate=False))
    random = [target for target in fitted.missing if target in parameters]
    # Tables of indices are made by the constructor and need not be kept in files.
    first = [
        target
        for target in (*fitted.missing, *fitted.other_shape)
        if target in buffers and buffers[target].is_floating_point()
    ]
    sentences = []
    if random:
        of = f"{len(random):,} of {len(parameters):,} parameters"
        stay = "is not in {} and stays" if len(random) == 1 else "are not in {} and stay"
        sentences.append(f"{of} {stay.format(name)} random: {_listed(random)}.")
    if first:
        keep = "keeps its first value" if len(first) == 1 else "keep their first values"
        sentences.append(f"{_count(len(first), 'buffer')} not in {name} {keep}: {_listed(first)}.")
    if fitted.unreadable:
        count = len(fitted.unreadable)
        sentences.append(
            f"{_count(count, 'tensor')} of {name} cannot be taken for {_of_kind(fitted, weights)}, and "
            f"{_are(count)} random here: {_listed(list(fitted.unreadable))}."
        )
    if fitted.unexpected:
        sentences.append(
            f"{_count(len(fitted.unexpected), 'tensor')} of {name} {_have(len(fitted.unexpected))} no place in the "
            f"architecture and {_are(len(fitted.unexpected))} left out: {_listed(fitted.unexpected)}."
        )
    if fitted.adapters:
        sentences.append(
            f"{_count(len(fitted.adapters), 'tensor')} of LoRA adapters {_are(len(fitted.adapters))} left out, and not "
            "merged into the weights."
        )
    return sentences


def untied_note(pairs: Sequence[tuple[str, str]], weights: Weights) -> str:
    """A sentence about names whose values are left out for those of another; empty without any."""
    if not pairs:
        return ""
    others = _listed([other for _, other in pairs])
    return (
        f"{others} {_have(len(pairs))} values of {'its' if len(pairs) == 1 else 'their'} own in "
        f"{shown(weights.file.name)}; the architecture shares one tensor, and those of {shown(pairs[0][0], 80)} are "
        "taken."
    )


def _of_kind(fitted: Fit, weights: Weights) -> str:
    """What the tensors that cannot be read are instead of what the architecture has."""
    dtypes = [weights.dtype(given) for given in fitted.unreadable.values()]
    kinds = sorted({dtype_name(dtype) for dtype in dtypes if dtype is not None})
    if None in dtypes:
        kinds.append("sparse or quantised")
    return f"the architecture's numbers, as they are {' or '.join(kinds)}"


def _nothing(fitted: Fit, weights: Weights, model: LoadedModel) -> str:
    name, own = shown(weights.file.name), model.info.name
    if fitted.adapters and not fitted.unexpected:
        return (
            f"{name} holds {_count(len(fitted.adapters), 'tensor')} of an adapter, not the weights it adapts."
        )
    return f"{name} does not fit {own}: none of its {len(weights.rows):,} tensors is in {own}. {_sides(fitted, own)}"


def _sides(fitted: Fit, own: str) -> str:
    """What is on one side and not on the other, by example."""
    parts = []
    if fitted.unexpected:
        parts.append(f"the file has {_listed(fitted.unexpected)}")
    if fitted.missing:
        parts.append(f"{own} has {_listed(fitted.missing)}")
    return _sentence([", ".join(parts)]) if parts else ""


def _classes(
    wrong: Mapping[str, str], weights: Weights, module: nn.Module, parameters: Mapping[str, Tensor]
) -> int | None:
    """The number of classes of the file, where nothing but the size of classifiers differs."""
    sizes = set()
    for target, given in wrong.items():
        shape, own = weights.rows[given].shape, tuple(parameters[target].shape)
        owner = module.get_submodule(target.rpartition(".")[0])
        if not isinstance(owner, _CLASSIFIERS) or not shape or shape[1:] != own[1:]:
            return None
        sizes.add((shape[0], own[0]))
    return sizes.pop()[0] if len(sizes) == 1 else None


def _with_classes(source: str, classes: int, file: str) -> str:
    """How to open the architecture with as many classes."""
    argument = f"num_classes={classes}"
    if not source.startswith(_ZOO):
        return f"Give {shown(source)} as many: for example build({argument}), if it takes the number so."
    scheme, _, call = source.partition(":")
    call, colon, weights = call.partition(":")
    if "num_classes" in call:
        return f"Write {argument}."
    call = f"{call[:-1]}, {argument})" if call.endswith(")") else f"{call}({argument})"
    return f"Open {file}@{scheme}:{call}{colon}{weights}."


def _text(shape: Shape) -> str:
    return "×".join(str(size) for size in shape) or "a scalar"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(shown(name, 80) for name in names[:NAMED]) + more


def _sentence(parts: Sequence[str]) -> str:
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _have(number: int) -> str:
    return "has" if number == 1 else "have"
