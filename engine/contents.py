"""What a model file holds and which architectures it fits, as plain values: read without running anything of it."""

from __future__ import annotations

import unicodedata

from msgspec import Struct

from engine.graph import Shape


class Entry(Struct, frozen=True):
    """A file inside an archive; ``packed`` are the bytes it takes there."""

    name: str
    size: int
    packed: int


class Import(Struct, frozen=True):
    """A name that unpickling would import: ``os.system``."""

    name: str
    count: int
    origin: str
    """``data`` (values that our reader understands without importing anything), ``torch`` (classes and functions of
    torch's own layers and optimizers), ``script`` (TorchScript classes, whose code is in the same file) or ``other``:
    somebody's code."""


class Call(Struct, frozen=True):
    """Something that opening the file with torch would call; ``example`` are the arguments of its first call."""

    function: str
    count: int
    example: str
    origin: str


class Tensors(Struct, frozen=True):
    """All tensors, one column per property, in the order of the file. Strides and offsets count elements."""

    name: tuple[str, ...] = ()
    """As in the state dict or, of a pickled module, as ``state_dict()`` would name it."""
    group: tuple[int, ...] = ()
    """Index into ``Contents.groups``."""
    shape: tuple[Shape, ...] = ()
    stride: tuple[Shape, ...] = ()
    dtype: tuple[str, ...] = ()
    offset: tuple[int, ...] = ()
    storage: tuple[str, ...] = ()
    """Tensors with the same non-empty text share memory; for shards it begins with the file."""
    bytes: tuple[int, ...] = ()
    """Elements × bytes per element."""
    role: tuple[str, ...] = ()
    """``parameter``, ``buffer``, ``temporary`` (a buffer that ``state_dict()`` leaves out), ``constant`` or
    ``tensor`` (not known)."""


class Group(Struct, frozen=True):
    """A state dict, a module or another collection of tensors in the file."""

    path: str
    """Keys from the outside, joined with dots; empty for the outermost."""
    role: str
    """``model``, ``ema``, ``optimizer``, ``constants`` or ``other``."""
    prefix: str
    """What all names begin with because the model was wrapped: ``module.``, ``_orig_mod.``; may be empty."""
    tensors: int
    params: int
    """Elements, memory that is shared counted once, without buffers as far as those are known (batch norm's running
    statistics are, by their names)."""
    elements: int
    bytes: int


class PrefixTotal(Struct, frozen=True):
    """All tensors of a group whose names begin with ``prefix`` (one component, after the group's own prefix)."""

    group: int
    prefix: str
    tensors: int
    elements: int
    bytes: int


class Operation(Struct, frozen=True):
    """An operation of an exported graph, and how often it occurs."""

    name: str
    count: int


class GraphInput(Struct, frozen=True):
    """An input of an exported graph. A size that may vary is the text of its symbol."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class Contents(Struct, frozen=True):
    """One file, sharded set or folder."""

    file: str
    kind: str
    """``state dict``, ``checkpoint``, ``module``, ``torchscript``, ``exported program``, ``onnx``, ``tensor`` or
    ``pickle``."""
    format: str
    """``torch.save``, ``torch.save (before 1.6)``, ``pickle``, ``TorchScript``, ``pt2``, ``safetensors``,
    ``ONNX IR 8`` …"""
    size: int
    """Bytes, of all shards together."""
    producer: str = ""
    entries: tuple[Entry, ...] = ()
    imports: tuple[Import, ...] = ()
    calls: tuple[Call, ...] = ()
    tensors: Tensors = Tensors()
    groups: tuple[Group, ...] = ()
    totals: tuple[PrefixTotal, ...] = ()
    operations: tuple[Operation, ...] = ()
    inputs: tuple[GraphInput, ...] = ()
    opsets: tuple[tuple[str, int], ...] = ()
    """Operator sets of an ONNX model: domain and version."""
    functions: tuple[Operation, ...] = ()
    """Functions that an ONNX model brings along, and how often its graph calls each."""
    external: tuple[Entry, ...] = ()
    """Files beside an ONNX model with values of its tensors; ``packed`` are the bytes that these take there."""
    classes: tuple[str, ...] = ()
    """Of a pickled or scripted module: its classes, the outermost first."""
    code: tuple[Entry, ...] = ()
    """Source files of TorchScript."""
    metadata: tuple[tuple[str, str], ...] = ()
    shards: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """Whole sentences: what is odd about the file."""

    @property
    def foreign(self) -> tuple[str, ...]:
        """Names of somebody's code that opening the file with torch would import or call."""
        names = [each.name for each in self.imports if each.origin == "other"]
        names += [each.function for each in self.calls if each.origin == "other"]
        return tuple(dict.fromkeys(names))


class Candidate(Struct, frozen=True):
    """An architecture whose weights a file may hold, and why."""

    source: str
    """What to open for it: ``weights.pt@torchvision:resnet50(num_classes=10)``."""
    architecture: str
    """``torchvision:resnet50(num_classes=10)``."""
    fit: str
    """``exact`` (every name and shape), ``other classes`` (all but the size of the last layers), ``other sizes``
    (all, with other input channels or another image size) or ``partly``."""
    matched: int
    """Tensors of the file with the name and shape that the architecture has."""
    tensors: int
    """Tensors of the file's group."""
    expected: int
    """Tensors that the architecture has."""
    reason: str
    """A sentence: what fits and what does not."""
    rank: int = 1
    """Candidates with the same rank fit equally well."""
    group: str = ""
    """``Group.path`` of the group in the file."""


def shown(text: str, length: int = 120) -> str:
    """``text`` for a sentence: no control characters, not longer than ``length``."""
    text = "".join(character if character.isprintable() else "�" for character in text[: length + 1])
    return text if len(text) <= length else text[: length - 1] + "…"


def printable(text: str) -> str:
    """``text`` without what a terminal or a page would act on; spaces of all widths stay."""
    return "".join(
        character if character.isprintable() or unicodedata.category(character) == "Zs" else "�"
        for character in text
    )
