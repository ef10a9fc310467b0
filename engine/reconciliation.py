"""Why an ONNX file has other parameters than the PyTorch model it comes from: lines that sum to the difference.

Exporters fold norms into convolutions (whose bias may be new), store identical tensors once or tied ones apart, leave
out what the forward pass does not use, and compute tables that PyTorch computes in every pass. Layers are matched by
path; what an ONNX file has below a layer of PyTorch's belongs to that layer. Plain data that both processes read.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

from msgspec import Struct

from engine import numbers
from engine.results import Analysis

FORMAT = "onnx"

WHAT = {
    "folded": "norms folded into the layer before",
    "biases": "biases that folding made",
    "merged": "identical tensors stored once",
    "apart": "tied weights stored once per use",
    "tables": "tables computed at export",
    "constants": "constants stored as weights",
    "unused": "not used by the forward pass, so not exported",
    "absent": "not in the file as parameters",
}
"""Kinds of lines in the order in which they are shown."""
MAX_NAMED = 4


class Line(Struct, frozen=True):
    """One reason, and what it does to the number of parameters."""

    kind: str
    """Key of WHAT."""
    layers: tuple[str, ...]
    """Paths in the PyTorch model; ``""`` is the model itself."""
    params: int
    """Signed."""

    @property
    def what(self) -> str:
        """``norms folded into the layer before``."""
        return WHAT.get(self.kind, self.kind)

    @property
    def where(self) -> str:
        """The first layers by name, and how many more there are."""
        named = [path or "the model itself" for path in self.layers[:MAX_NAMED]]
        more = len(self.layers) - len(named)
        return ", ".join(named) + (f" and {more} more" if more else "")

    @property
    def change(self) -> str:
        """``−4,800``."""
        return f"{'+' if self.params > 0 else numbers.MINUS}{abs(self.params):,}"


class Reconciliation(Struct, frozen=True):
    """Parameters of the baseline and of the analysis; ``lines`` sum exactly to the difference."""

    before: int
    after: int
    lines: tuple[Line, ...]

    @property
    def sentence(self) -> str:
        """All of it in one sentence."""
        parts = [f"{line.change} {line.what} ({line.where})" for line in self.lines]
        return f"Parameters: {self.before:,} → {self.after:,}: {'; '.join(parts)}."


def reconcile(analysis: Analysis, baseline: Analysis | None) -> Reconciliation | None:
    """What explains the parameters of ``analysis`` where it or its baseline is an ONNX file and the other is not.

    None for any other pair, and where there is nothing to explain.
    """
    if baseline is None or (analysis.model.format == FORMAT) == (baseline.model.format == FORMAT):
        return None
    if analysis.model.format == FORMAT:
        lines = _lines(analysis, baseline)
    else:
        lines = [Line(line.kind, line.layers, -line.params) for line in _lines(baseline, analysis)]
    if not lines:
        return None
    return Reconciliation(baseline.totals.params, analysis.totals.params, tuple(lines))


def _lines(onnx: Analysis, torch: Analysis) -> list[Line]:
    paths = frozenset(torch.modules.path)
    place = _nearest(paths)
    theirs, their_groups = _registered(torch, place)
    ours, our_groups = _registered(onnx, place)
    found: dict[str, list[tuple[str, int]]] = defaultdict(list)
    kind_of = _kinds(torch)
    for path in torch.modules.path:
        change = ours[path] - theirs[path]
        if change:
            found[kind_of(path, theirs[path], ours[path])].append((path, change))
    # A tensor that both have once for the same layers is no difference.
    for kind, groups, others, sign in (
        ("merged", our_groups, their_groups, -1),
        ("apart", their_groups, our_groups, 1),
    ):
        for (layers, params), times in (groups - others).items():
            change = sign * (len(layers) - 1) * params * times
            found[kind] += [(layers[0], change), *((layer, 0) for layer in layers[1:])]
    return [
        Line(kind, tuple(dict.fromkeys([path for path, _ in found[kind]])), sum(n for _, n in found[kind]))
        for kind in WHAT
        if found[kind]
    ]


Group = tuple[tuple[str, ...], int]
"""Layers that share a tensor, and its elements."""


def _registered(analysis: Analysis, place: Callable[[str], str]) -> tuple[Counter[str], Counter[Group]]:
    """(elements that each layer registers, tensors that several layers share): shared ones count in every layer."""
    modules = analysis.modules
    inclusive = dict(zip(modules.path, modules.params, strict=True))
    own_path = _nearest(frozenset(modules.path))
    surplus: Counter[str] = Counter()
    groups: Counter[Group] = Counter()
    twice: Counter[str] = Counter()
    for shared in analysis.shared:
        holders = [own_path(_module(name)) for name in shared.names]
        for path, times in Counter(each for holder in holders for each in _around(holder)).items():
            surplus[path] += (times - 1) * shared.params
        layers = Counter(place(holder) for holder in holders)
        for layer, times in layers.items():
            twice[layer] += (times - 1) * shared.params
        if len(layers) > 1:
            groups[tuple(sorted(layers)), shared.params] += 1
    found: Counter[str] = Counter()
    for index, path in enumerate(modules.path):
        registered = inclusive[path] + surplus[path]
        found[place(path)] += registered
        parent = modules.parent[index]
        if parent >= 0:
            found[place(modules.path[parent])] -= registered
    found.subtract(twice)
    return found, groups


def _kinds(torch: Analysis) -> Callable[[str, int, int], str]:
    modules = torch.modules
    row = {path: index for index, path in enumerate(modules.path)}

    def kind(path: str, theirs: int, ours: int) -> str:
        """Why a layer with ``theirs`` parameters in PyTorch has ``ours`` in the file."""
        at = row[path]
        attributes = modules.attributes[at]
        if not ours:
            if modules.untouched_params[at] >= theirs:
                return "unused"
            return "folded" if "Norm" in modules.class_name[at] else "absent"
        if ours > theirs and ours - theirs in (
            attributes.get("out_channels"),
            attributes.get("out_features"),
        ):
            return "biases"
        if not theirs:
            return "constants"
        return "tables" if ours > theirs else "absent"

    return kind


def _nearest(paths: Iterable[str]) -> Callable[[str], str]:
    """The path itself, or the closest one around it that is among ``paths``."""
    known = frozenset(paths)

    def nearest(path: str) -> str:
        while path and path not in known:
            path = path.rpartition(".")[0]
        return path

    return nearest


def _around(path: str) -> list[str]:
    """``path`` and every path around it, the model's last."""
    found = [path]
    while path:
        path = path.rpartition(".")[0]
        found.append(path)
    return found


def _module(name: str) -> str:
    return name.rpartition(".")[0]
