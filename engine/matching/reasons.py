"""Why an architecture is proposed for a file, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from engine.contents import shown
from engine.matching.fit import ARGUMENTS, CLASSES, EXACT, Fit
from engine.matching.names import Plain
from engine.numbers import many, shape

_EXAMPLES = 2


def reason(fit: Fit, bare: Plain, equals: Sequence[str]) -> str:
    """What fits and what does not; ``equals`` are the other architectures that fit as well."""
    tied = _tied(equals)
    if bare.derived:
        return f"The adapters fit {many(fit.matched, 'weight')} of its {fit.expected:,} tensors{tied}."
    left_out = _left_out(fit, bare)
    if fit.tier == EXACT:
        return f"{_all(fit)} {_have(fit)} its names and shapes{_below(fit)}{left_out}{tied}."
    if fit.tier in (CLASSES, ARGUMENTS):
        return f"{_all(fit)} {_fits(fit)}{_below(fit)} {_arguments(fit)}{left_out}{tied}."
    with_arguments = f" {_arguments(fit)}" if fit.arguments else ""
    parts = [
        f"{fit.matched:,} of its {many(fit.expected, 'tensor')} are in the file{_below(fit)}{with_arguments}"
    ]
    if fit.missing:
        parts.append(f"{len(fit.missing):,} {_are(len(fit.missing))} missing ({_examples(fit.missing)})")
    if fit.other_shape:
        name, expected, got = fit.other_shape[0]
        verb = "has" if len(fit.other_shape) == 1 else "have"
        parts.append(
            f"{len(fit.other_shape):,} {verb} another shape "
            f"({shown(name, 60)} is {shape(got)}, not {shape(expected)})"
        )
    strange = (*fit.extra, *fit.outside)
    if strange:
        parts.append(f"{many(len(strange), 'tensor')} of the file {_are(len(strange))} none of its "
                     f"({_examples(strange)})")  # fmt: skip
    return f"{'; '.join(parts)}{left_out}{tied}."


def _left_out(fit: Fit, bare: Plain) -> str:
    """What is not as in the architecture and yet no reason against it."""
    text = ""
    if fit.missing_buffers:
        text += f"; {many(fit.missing_buffers, 'buffer')} of it {_are(fit.missing_buffers)} not in the file"
    if bare.composed:
        text += f"; {many(bare.composed, 'weight')} {_are(bare.composed)} kept in several parts"
    if bare.adapters:
        text += f"; {many(bare.adapters, 'tensor')} of adapters {_are(bare.adapters)} left out"
    return text


def _all(fit: Fit) -> str:
    return f"All {many(fit.matched, 'tensor')}" if fit.matched != 1 else "The only tensor"


def _have(fit: Fit) -> str:
    return "have" if fit.matched != 1 else "has"


def _fits(fit: Fit) -> str:
    return "fit" if fit.matched != 1 else "fits"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _below(fit: Fit) -> str:
    copies = f" ({fit.copies:,} more are copies of them)" if fit.copies else ""
    return f' below "{shown(fit.view.prefix, 60)}"{copies}' if fit.view.prefix else copies


def _arguments(fit: Fit) -> str:
    texts = []
    for name, value in fit.arguments.items():
        if name == "num_classes" and value == 0:
            texts.append("without its classifier (num_classes=0)")
        else:
            texts.append(f"with {name}={value} instead of {fit.defaults[name]}")
    return " and ".join(texts)


def _examples(names: Sequence[str]) -> str:
    text = ", ".join(shown(name, 60) for name in names[:_EXAMPLES])
    return f"{text} …" if len(names) > _EXAMPLES else text


def _tied(equals: Sequence[str]) -> str:
    if not equals:
        return ""
    more = len(equals) - 1
    others = f"{equals[0]} and {more:,} more fit" if more else f"{equals[0]} fits"
    return f"; {others} equally well"
