"""Models in several files: an index that names the file of each tensor, and folders as Hugging Face lays them out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine.contents import Contents, Group, PrefixTotal, Tensors, shown
from engine.errors import LoadError
from engine.files.limits import MAX_JSON_BYTES, MAX_TENSORS, Budget, too_much
from engine.files.regions import Region
from engine.files.safetensors import parse_json
from engine.files.tensors import Listing, Row

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SINGLES = (
    "model.safetensors",
    "pytorch_model.bin",
    "diffusion_pytorch_model.safetensors",
    "adapter_model.safetensors",
)
MAX_SHARDS = 2_000

ReadFile = Callable[[Path, Budget], Contents]


def read_folder(path: Path, budget: Budget, read_file: ReadFile) -> Contents:
    """The weights of a model folder. Raises LoadError when it holds none."""
    for name in (*INDEXES, *SINGLES):
        try:
            if (path / name).is_file():
                return read_file(path / name, budget)
        except OSError as error:
            raise LoadError(
                f"The folder {shown(path.name)} cannot be read: {error.strerror or error}.", file=str(path)
            ) from error
    if (path / "saved_model.pb").exists():
        what, advice = "is a TensorFlow SavedModel", "Convert it to ONNX with tf2onnx."
    elif (path / ".metadata").exists():
        what = "is a checkpoint of torch.distributed"
        advice = "Convert it: python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER net.pt."
    elif (path / "config.json").exists():
        what, advice = (
            "has a config.json but no weights",
            f"Download its weights too: {' or '.join(SINGLES[:2])}.",
        )
    else:
        what, advice = "holds no model", f"Give a model file, or a folder with {' or '.join(SINGLES[:2])}."
    raise LoadError(f"The folder {shown(path.name)} {what}.", hint=advice, file=str(path))


def read_index(region: Region, budget: Budget, read_file: ReadFile) -> Contents:
    """All shards that an index names. Raises LoadError for missing ones, and for names that lead out of its folder."""
    if budget.in_index:
        raise region.failure("a shard of a model cannot be an index again")
    budget.in_index = True
    if region.size > MAX_JSON_BYTES:
        raise too_much(f"its JSON is {region.size:,} bytes")
    budget.spend_json(region.size)
    index = parse_json(region, region.read(0, region.size))
    name = shown(region.file.name)
    places = index.get("weight_map")
    if not isinstance(places, dict):
        what = (
            "a model's configuration, without weights"
            if "model_type" in index
            else "a JSON file without weights"
        )
        raise LoadError(
            f"{name} is {what}.", hint="Open the folder it lies in, or the weights.", file=str(region.file)
        )
    if len(places) > MAX_TENSORS or not all(isinstance(shard, str) for shard in places.values()):
        raise region.failure("its weight_map is no mapping of tensors to files")
    files = sorted(set(places.values()))
    if len(files) > MAX_SHARDS:
        raise too_much(f"it names {len(files):,} shards")
    paths = [_inside(region, file) for file in files]
    missing = [file for file, path in zip(files, paths, strict=True) if not path.is_file()]
    if missing:
        listed = ", ".join(shown(file, 60) for file in missing[:5])
        raise LoadError(
            f"{name} names {len(files):,} files, and {len(missing):,} of them are not there: {listed}.",
            hint="Download them into the same folder.",
            file=str(region.file),
        )
    return _merged(region, files, _read_shards(paths, budget, read_file), places)


def _read_shards(paths: list[Path], budget: Budget, read_file: ReadFile) -> list[Contents]:
    """Contents of each; all of them have one budget together."""
    parts: list[Contents] = []
    for path in paths:
        parts.append(read_file(path, budget))
        if sum(len(part.tensors.name) for part in parts) > MAX_TENSORS:
            raise too_much(f"its shards list more than {MAX_TENSORS:,} tensors")
    return parts


def _inside(region: Region, file: str) -> Path:
    """The shard beside the index. Raises LoadError for any name that would lead elsewhere, links included."""
    folder = region.file.parent
    if not file or file in (".", "..") or any(sign in file for sign in "/\\:\0") or file == region.file.name:
        raise region.failure(
            f"its shard {shown(file)!r} is not a file beside it", hint="Shards lie in the index's folder."
        )
    path = folder / file
    try:
        # Hugging Face's cache links each file to its blobs folder, two levels up and beside.
        target = path.resolve()
        allowed = (folder.resolve(), folder.resolve().parent.parent / "blobs")
    except (OSError, RuntimeError) as error:
        raise region.failure(f"its shard {shown(file)} cannot be found: {error}") from error
    if path.is_symlink() and target.parent not in allowed:
        raise region.failure(
            f"its shard {shown(file)} is a link out of its folder", hint="Put the file itself there."
        )
    return path


def _merged(region: Region, files: list[str], parts: list[Contents], places: dict[str, str]) -> Contents:
    rows: list[Row] = []
    notes: list[str] = []
    there: dict[str, str] = {}
    for file, part in zip(files, parts, strict=True):
        tensors = part.tensors
        for at, tensor in enumerate(tensors.name):
            if tensor in there:
                notes.append(f"{shown(tensor)} is in {shown(there[tensor], 60)} and in {shown(file, 60)}.")
            there[tensor] = file
            storage = f"{file}/{tensors.storage[at]}" if tensors.storage[at] else ""
            rows.append(
                Row(tensor, tensors.shape[at], tensors.stride[at], tensors.dtype[at], tensors.offset[at], storage,
                    tensors.bytes[at], tensors.role[at])
            )  # fmt: skip
        notes += part.notes
    lost = [tensor for tensor, file in places.items() if there.get(tensor) != file]
    if lost:
        raise region.failure(
            f"{len(lost):,} of its tensors are not in the file it names, {shown(lost[0])} in {shown(places[lost[0]])}"
        )
    listing = Listing()
    listing.add("", "model", rows)
    groups: tuple[Group, ...] = listing.summaries()
    totals: tuple[PrefixTotal, ...] = listing.totals()
    tensors_: Tensors = listing.tensors()
    return Contents(
        file=str(region.file),
        kind="state dict",
        format=f"{parts[0].format}, {len(files):,} shards" if parts else "index without shards",
        size=region.size + sum(part.size for part in parts),
        producer=parts[0].producer if parts else "",
        imports=tuple(each for part in parts for each in part.imports),
        calls=tuple(each for part in parts for each in part.calls),
        tensors=tensors_,
        groups=groups,
        totals=totals,
        metadata=tuple(dict(pair for part in parts for pair in part.metadata).items()),
        shards=tuple(shown(file, 200) for file in files),
        notes=tuple(notes[:20]),
    )
