"""Which tensor of a file belongs to which tensor of a module: by name and shape, wrappers taken off. Plain values."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from engine.files.tensors import WRAPPERS
from engine.graph import Shape

Use: TypeAlias = tuple[str, ...]
"""Names in the file: of one tensor, or of a weight and the mask to multiply it with (``torch.nn.utils.prune``)."""

UNIMPORTANT = "num_batches_tracked"
"""A buffer that no forward pass in eval mode reads."""

_WRAPPING = frozenset({wrapper.rstrip(".") for wrapper in WRAPPERS} - {"module"} | {"base_layer"})
"""Components that only say how a module was wrapped; ``base_layer`` is what a LoRA adapter is put around."""
_ADAPTERS = ("lora_", "ia3_")
_FORMER = ((".gamma", ".weight"), (".beta", ".bias"))
"""Names of norms in models that came from TensorFlow."""
_DENSENET = re.compile(r"(.*denselayer\d+\.(?:norm|conv))\.([12]\.\w+)")
"""Names in torchvision's published DenseNets, ``norm.1.weight``: their modules are called ``norm1`` since 2018."""


@dataclass
class Fit:
    """``uses`` is the module's name → what to take for it; the rest are names that found no counterpart."""

    uses: dict[str, Use] = field(default_factory=dict)
    other_shape: dict[str, str] = field(default_factory=dict)
    """Module's name → file's name."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Module's name → file's name, where the values cannot be those of the module."""
    missing: list[str] = field(default_factory=list)
    """Of the module, not in the file."""
    unexpected: list[str] = field(default_factory=list)
    """Of the file, not in the module."""
    adapters: list[str] = field(default_factory=list)
    """Of LoRA and its like, which are added to a weight when they are merged."""
    taken_off: str = ""
    """What the names in the file begin with and those of the module do not."""
    put_before: str = ""
    """The reverse."""


def fit(have: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> Fit:
    """The best way to give the tensors that a file has to a module that wants them."""
    whole: dict[str, str] = {}
    for name in have:
        short = name if name in wanted else unwrapped(name)
        if short not in whole or name == short:
            whole[short] = name
    shapes = {short: have[name] for short, name in whole.items()}
    taken_off, put_before = _prefixes(shapes, wanted)
    result = Fit(taken_off=taken_off, put_before=put_before)
    used: set[str] = set()
    # Names with the prefix belong to the module; others may by chance be called as something in it.
    for short in sorted(shapes, key=lambda short: not short.startswith(taken_off)):
        target = _target(short, wanted, result)
        if target is None or target in result.uses:
            continue
        used.add(short)
        if _same(shapes[short], wanted[target]):
            result.other_shape.pop(target, None)
            result.uses[target] = (whole[short],)
        else:
            result.other_shape.setdefault(target, whole[short])
    for short, mask, target in _pruned(shapes, wanted, result):
        used |= {short, mask}
        result.uses[target] = (whole[short], whole[mask])
    _list_rest(result, [whole[short] for short in shapes if short not in used], wanted)
    return result


def unwrapped(name: str) -> str:
    """``name`` without the components that only say how its module was wrapped."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPING)


def moved(name: str, prefixes: Fit) -> str:
    """``name`` with the prefixes exchanged that were found."""
    return prefixes.put_before + name.removeprefix(prefixes.taken_off)


def _same(have: Shape, wanted: Shape) -> bool:
    """One number may be kept as a scalar or as a vector of one."""
    return have == wanted or (math.prod(have) == math.prod(wanted) == 1)


def _prefixes(have: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> tuple[str, str]:
    """(what to take off the file's names, what to put before them): what makes most tensors fit, or else neither."""
    off, before = _votes(have, wanted), _votes(wanted, have)
    unchanged = off.pop("", 0)
    before.pop("", None)
    best_off = max(off, key=lambda prefix: off[prefix], default="")
    best_before = max(before, key=lambda prefix: before[prefix], default="")
    if max(off[best_off], before[best_before]) <= unchanged:
        return "", ""
    return (best_off, "") if off[best_off] >= before[best_before] else ("", best_before)


def _votes(longer: Mapping[str, Shape], shorter: Mapping[str, Shape]) -> Counter[str]:
    """Prefix → how many of the ``longer`` names, without it, are the name and shape of a ``shorter`` one."""
    votes: Counter[str] = Counter()
    for name, shape in longer.items():
        for start in _starts(name):
            rest = name[start:]
            if rest in shorter and _same(shape, shorter[rest]):
                votes[name[:start]] += 1
    return votes


def _starts(name: str) -> Iterator[int]:
    """Where each component of ``name`` begins."""
    start = 0
    while True:
        yield start
        start = name.find(".", start) + 1
        if not start:
            return


def _target(short: str, wanted: Mapping[str, Shape], prefixes: Fit) -> str | None:
    """The module's name for a name of the file, None where it has none."""
    for name in (moved(short, prefixes), short):
        if name in wanted:
            return name
        for former, today in _FORMER:
            if name.endswith(former) and (other := name.removesuffix(former) + today) in wanted:
                return other
        dense = _DENSENET.fullmatch(name)
        if dense is not None and dense[1] + dense[2] in wanted:
            return dense[1] + dense[2]
    return None


def _pruned(
    have: Mapping[str, Shape], wanted: Mapping[str, Shape], result: Fit
) -> Iterator[tuple[str, str, str]]:
    """(``weight_orig``, ``weight_mask``, the module's ``weight``) where the file has the two and not the product."""
    for short in have:
        name, ending, rest = short.rpartition("_orig")
        mask = f"{name}_mask"
        if ending and not rest and mask in have:
            target = _target(name, wanted, result)
            if (
                target is not None
                and target not in result.uses
                and have[short] == have[mask] == wanted[target]
            ):
                yield short, mask, target


def _list_rest(result: Fit, unused: list[str], wanted: Mapping[str, Shape]) -> None:
    for name in unused:
        if any(part.startswith(_ADAPTERS) for part in name.split(".")):
            result.adapters.append(name)
        elif not name.endswith(UNIMPORTANT):
            result.unexpected.append(name)
    result.missing = [
        name
        for name in wanted
        if name not in result.uses and name not in result.other_shape and not name.endswith(UNIMPORTANT)
    ]
