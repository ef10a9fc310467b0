"""Writes ``resources/zoo_index.bin``: names and shapes of every architecture of torchvision and timm.

``python -m resources.make_zoo_index`` builds each of them on the meta device, once as it is and once for every argument
whose effect the index tells: ``num_classes``, ``in_chans``, ``img_size``. That takes about a quarter of an hour. The
same versions of the libraries give the same bytes.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import nn

from engine.errors import EngineError
from engine.graph import Shape
from engine.loaders import torchvision_zoo
from engine.loaders.loaded import LoadOptions, build_on_meta
from engine.matching.names import COUNTER
from engine.matching.zoo_index import FILE, Architecture, Facts, Member, Rule, Size, pack
from engine.numbers import shape as shape_words

Shapes: TypeAlias = dict[str, Member]
Build: TypeAlias = Callable[[str], "Built | None"]
"""Builds with further arguments, written as in a call; None where the builder refuses them."""

CLASSES, MORE_CLASSES = 13, 29
CHANNELS = 5
WITH_CLASSIFIER = "num_classes=1000"


class Built(NamedTuple):
    """What is kept of a module on the meta device."""

    shapes: Shapes
    params: int
    task: str
    input: Shape
    classes: int | None
    """Where the module says it."""


class Named(NamedTuple):
    """An architecture before equal structures are put together."""

    source: str
    base: str
    base_arguments: str
    built: Built
    rules: tuple[Rule, ...]


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    _leave_out_initial_values()
    named = [*_torchvision(), *_timm()]
    structures: dict[tuple[Member, ...], int] = {}
    architectures: list[Architecture] = []
    seen: set[tuple[str, int]] = set()
    for each in named:
        # Builders name the same tensors in another order now and then; what a file holds has no order.
        members = tuple(each.built.shapes.values())
        number = structures.setdefault(members, len(structures))
        # Of the ways to call one builder that give the same structure the first is enough.
        if (each.base, number) not in seen:
            seen.add((each.base, number))
            architectures.append(
                Architecture(
                    each.source, each.base, each.base_arguments, number, each.rules,
                    each.built.task, each.built.params, shape_words(each.built.input),
                )
            )  # fmt: skip
    versions = tuple((name, version(name).partition("+")[0]) for name in ("torch", "torchvision", "timm"))
    data = pack(Facts(versions, tuple(architectures)), list(structures))
    Path(__file__).with_name(FILE).write_bytes(data)
    _say(f"{len(architectures):,} architectures, {len(structures):,} structures, {len(data):,} bytes")


def _leave_out_initial_values() -> None:
    """Initial values mean nothing on meta, where computing them takes most of the time of building."""
    for name in ("normal_", "uniform_", "zero_", "fill_", "erfinv_", "clamp_", "mul_", "add_"):
        setattr(torch.Tensor, name, _only_real(getattr(torch.Tensor, name)))


def _only_real(method: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def replaced(self: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return self if self.is_meta else method(self, *args, **kwargs)

    return replaced


def _torchvision() -> Iterator[Named]:
    import torchvision.models as models

    for name in models.list_models():
        base = f"torchvision:{name}"
        default = _torchvision_build(base)
        if default is None:
            _say(f"{base} cannot be built")
            continue
        ways = _ways(base, default.task, [member.name for member in models.get_model_weights(name)])
        # By structure: the shortest way to write it, and all the calls that build it with further arguments.
        found: dict[tuple[Member, ...], list[str]] = {}
        for way in ways:
            built = _torchvision_build(way)
            if built is not None:
                found.setdefault(tuple(built.shapes.values()), []).append(way)
        for sources in found.values():
            if "image_size" in sources[0]:
                continue  # no set of weights has this size: the rule of the usual one says it
            built = _torchvision_build(sources[0])
            assert built is not None
            rules, arguments = _torchvision_rules(base, built, ways)
            yield Named(sources[0], base, arguments, built, rules)
        _say(base)


def _ways(base: str, task: str, weights: list[str]) -> list[str]:
    """Sources that may differ in structure: each set of weights, auxiliary heads, image sizes; the plain one first."""
    ways = [base, *(f"{base}:{name}" for name in weights)]
    if base in ("torchvision:googlenet", "torchvision:inception_v3") or "quantized" in base:
        ways += [f"{base}(aux_logits={value})" for value in (True, False)]
    if task == "segmentation":
        ways += [f"{base}(aux_loss={value}, num_classes=21)" for value in (True, False)]
    if "vit_" in base:
        ways += [f"{base}(image_size={size})" for size in (224, 384, 512, 518)]
    return ways


def _torchvision_build(source: str) -> Built | None:
    try:
        loaded = torchvision_zoo.load(source, LoadOptions())
    except EngineError:
        return None
    assert loaded.binding is not None
    return _built(loaded.module, loaded.info.task, loaded.binding.specs[0].default.shape)


def _torchvision_rules(base: str, built: Built, ways: list[str]) -> tuple[tuple[Rule, ...], str]:
    """Rules of a structure, and the arguments without which its builder gives another one as soon as a rule is used."""
    for arguments in dict.fromkeys(_arguments(way) for way in ways):
        few = _torchvision_build(_call(base, arguments, f"num_classes={CLASSES}"))
        more = _torchvision_build(_call(base, arguments, f"num_classes={MORE_CLASSES}"))
        rule = _class_rule(built, few, more)
        if rule is None:
            continue
        size = _torchvision_size_rule(base, built, arguments)
        return ((rule, size) if size is not None else (rule,)), arguments
    return (), ""


def _torchvision_size_rule(base: str, built: Built, arguments: str) -> Rule | None:
    if "vit_" not in base:
        return None
    size = built.input[-1]
    larger = _torchvision_build(f"{base}(image_size={2 * size})")
    return _rule("image_size", built.shapes, larger, size, 2 * size, 2) if not arguments else None


def _arguments(way: str) -> str:
    """The arguments in ``base(aux_logits=True)``, less the number of classes."""
    inside = way.partition("(")[2].rstrip(")")
    return ", ".join(part for part in inside.split(", ") if part and not part.startswith("num_classes"))


def _call(base: str, *arguments: str) -> str:
    inside = ", ".join(argument for argument in arguments if argument)
    return f"{base}({inside})" if inside else base


def _class_rule(built: Built, few: Built | None, more: Built | None) -> Rule | None:
    """What ``num_classes`` sets, from two other values of it, as builders do not say what their own is."""
    if few is None or more is None:
        return None
    small, large = (_in_order(each.shapes, built.shapes) for each in (few, more))
    sizes = _sizes(small, large, CLASSES, MORE_CLASSES, 1)
    if not sizes:
        return None
    first = sizes[0]
    own = list(built.shapes.values())[first.tensor].shape
    classes, rest = divmod(own[first.dim] - first.offset, first.factor)
    rule = Rule("num_classes", classes, 1, sizes)
    # The structure itself must be that of its own number of classes.
    return rule if not rest and _with(small, sizes, 1, classes) == _plain(built.shapes) else None


def _in_order(shapes: Shapes, like: Shapes) -> Shapes:
    """``shapes`` in the order of ``like``, less the counters of batch norms that are frozen there; empty if they
    have other names."""
    rest = {name for name in shapes if name in like or not name.endswith(COUNTER)}
    return {name: shapes[name] for name in like} if rest == like.keys() else {}


def _timm() -> Iterator[Named]:
    import timm

    for name in timm.list_models():
        base = f"timm:{name}"
        built = _timm_build(name)("")
        if built is None:
            _say(f"{base} cannot be built")
            continue
        yield Named(base, base, "", built, _timm_rules(name, built))
        if built.classes == 0:
            with_classes = _timm_build(name)(WITH_CLASSIFIER)
            if with_classes is not None:
                rules = _timm_rules(name, with_classes)
                # Without its classifier it is the one above again.
                rules = tuple(Rule(each.argument, each.default, each.power, each.sizes) for each in rules)
                yield Named(f"{base}({WITH_CLASSIFIER})", base, "", with_classes, rules)
        _say(base)


def _timm_build(name: str) -> Build:
    import timm

    def build(arguments: str) -> Built | None:
        texts = [part.partition("=") for part in arguments.split(", ") if part]
        options: dict[str, Any] = {key: int(value) for key, _, value in texts}
        try:
            module = build_on_meta(lambda: timm.create_model(name, pretrained=False, **options))
        except Exception as error:  # of whatever kind: this builder does not take these arguments
            if not arguments:
                _say(f"timm:{name}: {type(error).__name__}: {error}")
            return None
        classes = getattr(module, "num_classes", None)
        size = module.pretrained_cfg.get("input_size") or (3, 224, 224)
        task = "features" if classes == 0 else "classification"
        return _built(module, task, (1, *size), classes if isinstance(classes, int) else None)

    return build


def _timm_rules(name: str, built: Built) -> tuple[Rule, ...]:
    build, shapes = _timm_build(name), built.shapes
    channels, size = built.input[1], built.input[-1]
    rules: list[Rule | None] = []
    if built.classes:
        rule = _rule("num_classes", shapes, build(f"num_classes={CLASSES}"), built.classes, CLASSES, 1)
        without = build("num_classes=0")
        if rule is not None and without is not None:
            rule = Rule(rule.argument, rule.default, 1, rule.sizes, _absent(shapes, without.shapes))
        rules.append(rule)
    rules.append(_rule("in_chans", shapes, build(f"in_chans={CHANNELS}"), channels, CHANNELS, 1))
    if built.input[-2] == size:
        rules.append(_rule("img_size", shapes, build(f"img_size={2 * size}"), size, 2 * size, 2))
    return tuple(rule for rule in rules if rule is not None)


def _absent(shapes: Shapes, without: Shapes) -> tuple[int, ...]:
    """Positions of the tensors that ``without`` lacks; none when it differs in other ways too."""
    rest = {name: member for name, member in shapes.items() if name in without}
    if rest != without:
        return ()
    return tuple(number for number, name in enumerate(shapes) if name not in without)


def _rule(
    argument: str, shapes: Shapes, other: Built | None, default: int, value: int, power: int
) -> Rule | None:
    """None for an argument that is refused, changes nothing, or changes more than sizes by a simple law."""
    sizes = _sizes(shapes, other.shapes, default, value, power) if other is not None else ()
    return Rule(argument, default, power, sizes) if sizes else None


def _sizes(before: Shapes, after: Shapes, default: int, value: int, power: int) -> tuple[Size, ...]:
    """The dimensions that an argument sets; empty where not all differences follow the law of :class:`Size`."""
    if not before or before.keys() != after.keys():
        return ()
    found: list[Size] = []
    for tensor, name in enumerate(before):
        old, new = before[name].shape, after[name].shape
        if len(old) != len(new):
            return ()
        for dim, (small, large) in enumerate(zip(old, new, strict=True)):
            if small != large:
                step = value**power - default**power
                common = math.gcd(large - small, step) * (1 if step > 0 else -1)
                factor, divisor = (large - small) // common, step // common
                scaled, rest = divmod(factor * default**power, divisor)
                if rest or factor < 1 or scaled > small:
                    return ()
                found.append(Size(tensor, dim, factor, divisor, small - scaled))
    return tuple(found)


def _with(shapes: Shapes, sizes: tuple[Size, ...], power: int, value: int) -> dict[str, Shape]:
    """The shapes when the argument has ``value``."""
    result = _plain(shapes)
    names = list(result)
    for size in sizes:
        sizes_of = list(result[names[size.tensor]])
        sizes_of[size.dim] = size.factor * value**power // size.divisor + size.offset
        result[names[size.tensor]] = tuple(sizes_of)
    return result


def _plain(shapes: Mapping[str, Member]) -> dict[str, Shape]:
    return {name: member.shape for name, member in shapes.items()}


def _built(module: nn.Module, task: str, input: Shape, classes: int | None = None) -> Built:
    parameters = dict(module.named_parameters(remove_duplicate=False))
    shapes = {
        name: Member(name, tuple(tensor.shape), name not in parameters)
        for name, tensor in module.state_dict().items()
        if isinstance(tensor, torch.Tensor)
    }
    return Built(shapes, sum(each.numel() for each in module.parameters()), task, tuple(input), classes)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
