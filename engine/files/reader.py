"""Reads one file, sharded set or folder: nothing of it is run, imported or unpacked to disk."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec

from engine.contents import Contents, Entry, shown
from engine.errors import LoadError
from engine.files import onnx, pt2, safetensors, shards, torchscript
from engine.files.archive import Archive
from engine.files.identify import UNKNOWN, Foreign, identify
from engine.files.limits import MAX_RECORDS, Budget
from engine.files.pickles import Reading
from engine.files.places import Places, places_of
from engine.files.regions import Region, open_file
from engine.files.tensors import Listing, collect, module_classes
from engine.files.values import Dict, Tensor, Value

ZIP_MAGIC_TAIL = b"PK\x05\x06"


def read(path: Path, places: Places | None = None) -> Contents:
    """What ``path`` holds; ``places``, where given, gets where the bytes of its tensors lie.

    Raises LoadError, with the place and advice, for everything that is no whole model file.
    """
    try:
        is_folder = path.is_dir()
    except (OSError, ValueError) as error:
        raise LoadError(
            f"{shown(str(path))} is no usable path.", hint="Check the path.", file=str(path)
        ) from error
    budget = Budget()
    try:
        if is_folder:
            return shards.read_folder(path, budget, partial(read_file, places=places))
        return read_file(path, budget, places)
    except LoadError as error:
        if error.file:
            raise
        raise LoadError(error.message, hint=error.hint, file=str(path)) from error


def read_file(path: Path, budget: Budget, places: Places | None = None) -> Contents:
    """What one file holds, with its shards when it is their index."""
    with open_file(path) as region:
        return read_region(region, budget, places)


def read_region(region: Region, budget: Budget, places: Places | None = None) -> Contents:
    """What the bytes of one file hold that is open already, or in memory."""
    with _no_collection():
        return _read_region(region, budget, places)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without the collector, which would look through the million values of a hostile file again and again: twice to
    seven times the time. What is read is dropped by its reference counts; cycles among it wait for the next run."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read_region(region: Region, budget: Budget, places: Places | None) -> Contents:
    kind = identify(region)
    if kind == "json":
        return shards.read_index(region, budget, partial(_read_shard, places))
    reading = Reading(budget)
    if kind == "zip":
        contents = _zip(region, reading)
    elif kind in ("legacy", "pickle", "perhaps pickle", "tar"):
        contents = _pickle(region, kind, reading)
    elif kind == "safetensors":
        contents = _safetensors(region, reading)
    elif kind == "onnx":
        contents = _onnx(region, reading)
    elif isinstance(kind, Foreign):
        raise _refusal(region, kind)
    else:
        raise AssertionError(kind)
    if places is not None:
        places |= places_of(reading.stores)
    return contents


def _read_shard(places: Places | None, path: Path, budget: Budget) -> Contents:
    """One of several files; its storages are told from those of the others by the name of the file."""
    own: Places | None = None if places is None else {}
    contents = read_file(path, budget, own)
    if places is not None and own is not None:
        places.update({f"{path.name}/{key}": place for key, place in own.items()})
    return contents


def _refusal(region: Region, kind: Foreign) -> LoadError:
    return LoadError(f"{shown(region.file.name)} is {kind.what}.", hint=kind.advice, file=str(region.file))


def _zip(region: Region, reading: Reading) -> Contents:
    listing = Listing()
    archive = Archive(region, reading.budget)
    if pt2.is_pt2(archive):
        exported = pt2.read(archive, reading, listing)
        return _contents(
            region, "exported program", "pt2", reading, listing, archive,
            producer=exported.producer, operations=exported.operations, inputs=exported.inputs,
        )  # fmt: skip
    if torchscript.is_torchscript(archive):
        classes, code = torchscript.read(archive, reading, listing)
        return _contents(
            region, "torchscript", "TorchScript", reading, listing, archive,
            producer=_version(archive, "torch.jit.save"), classes=classes, code=code,
        )  # fmt: skip
    if not archive.has("data.pkl"):
        raise _refusal(region, _other_zip(archive))
    value = reading.archive(archive)
    collect(value, reading.budget, listing)
    _note_other_pickles(archive, reading)
    classes = module_classes(listing.module, reading.budget)
    if classes:
        archive.check(data=("data/",))  # torch loads it, where weights alone are read by our own reader
    return _contents(
        region, _kind(value, listing), "torch.save", reading, listing, archive,
        producer=_version(archive, "torch.save"), classes=classes,
    )  # fmt: skip


def _other_zip(archive: Archive) -> Foreign:
    names = [entry.name for entry in archive.entries]
    if any(name.endswith(".npy") for name in names):
        return Foreign("a zip archive of numpy arrays", "Open the model they belong to.")
    if any(name.endswith("model.weights.h5") for name in names):
        return Foreign("a Keras model", "Convert it to PyTorch or ONNX.")
    if any(name.endswith("extern_modules") for name in names):
        return Foreign(
            "a torch.package archive", "Save the model's state_dict() or export it with torch.export."
        )
    listed = ", ".join(shown(name, 40) for name in names[:3]) or "nothing"
    return Foreign(
        f"a zip archive without a model (it holds {listed})", "Unpack it, and open the model file in it."
    )


def _note_other_pickles(archive: Archive, reading: Reading) -> None:
    """torch reads one pickle of its archives; another beside it is hidden from torch and may be meant for others."""
    main = archive.get("data.pkl")
    for entry in archive.entries[:MAX_RECORDS]:
        if entry is not main and entry.name.endswith((".pkl", ".pickle")):
            reading.scan(archive.open(entry))
            reading.note(f"It also holds {shown(entry.name)}, which torch.load does not read.")


def _pickle(region: Region, kind: str, reading: Reading) -> Contents:
    listing = Listing()
    if kind == "tar":
        reading.tar(region)
        if not reading.record.imports:
            raise _refusal(
                region, Foreign("a tar archive without a model", "Unpack it, and open the model file in it.")
            )
        reading.note("It was saved by a torch before 0.1.10; load it with torch 1.x and save it again.")
        return _contents(region, "pickle", "torch.save (tar)", reading, listing)
    if kind == "legacy":
        value, text = reading.legacy(region), "torch.save (before 1.6)"
    else:
        try:
            value, more = reading.bare(region)
        except LoadError as error:
            if kind == "pickle" or reading.record.foreign:
                raise
            raise _refusal(region, UNKNOWN) from error
        text = "pickle"
        if more:
            reading.note(
                f"{more:,} more {'pickles follow' if more > 1 else 'pickle follows'} the first, "
                "which is all that torch or pickle would load."
            )
    if region.read(max(0, region.size - 22), min(4, region.size)) == ZIP_MAGIC_TAIL:
        reading.note("A zip archive is attached to its end, so other programs may see another file.")
    collect(value, reading.budget, listing)
    return _contents(
        region,
        _kind(value, listing),
        text,
        reading,
        listing,
        classes=module_classes(listing.module, reading.budget),
    )


def _safetensors(region: Region, reading: Reading) -> Contents:
    rows, metadata, store = safetensors.read(region, reading.budget)
    listing = Listing()
    listing.add("", "model", rows)
    reading.stores.append(store)
    return _contents(region, "state dict", "safetensors", reading, listing, metadata=metadata)


def _onnx(region: Region, reading: Reading) -> Contents:
    listing = Listing()
    model = onnx.read(region, reading.budget, listing)
    for note in model.notes:
        reading.note(note)
    contents = _contents(
        region, "onnx", f"ONNX IR {model.ir_version}", reading, listing,
        producer=model.producer, operations=model.operations, inputs=model.inputs, opsets=model.opsets,
        functions=model.functions, external=model.external, metadata=model.metadata,
    )  # fmt: skip
    return msgspec.structs.replace(contents, size=region.size + sum(each.size for each in model.external))


def _version(archive: Archive, writer: str) -> str:
    entry = archive.get("version")
    if entry is None:
        return writer
    text = archive.read(entry, 2**10).decode("ascii", "replace").strip()
    return f"{writer}, archive version {shown(text, 20)}"


def _kind(value: Value, listing: Listing) -> str:
    if isinstance(value, Tensor):
        return "tensor"
    if listing.module is not None and listing.module is value:
        return "module"
    if not listing.groups:
        return "pickle"
    outermost = isinstance(value, Dict) and len(listing.groups) == 1 and listing.groups[0].path == ""
    return "state dict" if outermost and listing.groups[0].role == "model" else "checkpoint"


def _contents(
    region: Region, kind: str, format: str, reading: Reading, listing: Listing, archive: Archive | None = None,
    **more: object,
) -> Contents:  # fmt: skip
    if listing.too_deep:
        reading.note("Values nested more than 100 deep were left out.")
    entries = archive.entries[: 10 * MAX_RECORDS] if archive is not None else []
    imports, calls = reading.imports(), reading.calls()
    return Contents(
        file=str(region.file),
        kind=kind,
        format=format,
        size=region.size,
        entries=tuple(Entry(shown(entry.name, 200), entry.size, entry.packed) for entry in entries),
        imports=imports,
        calls=calls,
        tensors=listing.tensors(),
        groups=listing.summaries(),
        totals=listing.totals(),
        notes=tuple(reading.notes),
        **more,  # type: ignore[arg-type]
    )
