"""Consent to opening a model file that runs code: what would run, and the very bytes that were agreed to.

The digest is the file's SHA-256; where modules beside the file would run with it, it covers their places and contents
too. Small files are hashed and loaded from one copy in memory; large ones are hashed where they lie and must be
unchanged (size, time of change, inode) when they are loaded. Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from engine import confine
from engine.contents import Contents, shown
from engine.errors import ConsentRequiredError, LoadError
from engine.files.limits import Budget
from engine.files.reader import read_region
from engine.files.regions import Region, open_file
from engine.foreign_code import foreign_lines, listed, times
from engine.loaders import consent
from engine.loaders.consent import Files
from engine.loaders.isolation import UserModules
from engine.loaders.options import LoadOptions

IN_MEMORY = 256 * 2**20
"""Bytes of the largest file that is held in memory between hashing and loading."""
CHUNK = 2**24
HAS_RUN = "Its code may have run already."
"""Begins the advice of every error while the content that was agreed to is loaded."""


class LocalFiles(NamedTuple):
    """Python files of the user's that would be imported while the file is opened, and the folder to import from."""

    root: Path
    files: Files


class _Stamp(NamedTuple):
    """Nobody can set the second time, which says when the file or what is written about it was last changed (on
    Windows: when it was made)."""

    size: int
    changed_ns: int
    touched_ns: int
    inode: int
    device: int


_hashed: dict[tuple[Path, _Stamp], str] = {}
"""Digests of large files as they were, so that a file is not hashed at every opening."""


@dataclass
class AgreedFile:
    """A file whose author the user trusts: exactly the content with ``sha256``."""

    path: Path
    sha256: str
    """Of the file alone."""
    digest: str
    """What was agreed to: ``sha256``, or with the local files."""
    local_files: LocalFiles
    others_allowed: bool
    """A blanket consent: modules of the folder that were not found beforehand may run too."""
    _stamp: _Stamp
    _content: bytes | None = field(repr=False)
    """Of a small file, until it is opened for the first time."""

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The bytes that were hashed, from their beginning. Raises LoadError when the file has changed since."""
        content, self._content = self._content, None
        if content is not None:
            yield io.BytesIO(content)
            return
        with open_file(self.path) as region:
            if self._stamp.size <= IN_MEMORY:
                content = region.read(0, region.size)
                if hashlib.sha256(content).hexdigest() != self.sha256:
                    raise _changed(self.path)
                yield io.BytesIO(content)
                return
            if _stamp(region) != self._stamp:
                raise _changed(self.path)
            region.handle.seek(0)
            yield region.handle
            if _stamp(region) != self._stamp:
                raise _changed(self.path)

    def world(self) -> UserModules:
        """The import world to load it and run its forward in."""
        files = {path: source.content for path, source in self.local_files.files.items()}
        return UserModules(self.local_files.root, files, others_allowed=self.others_allowed)


def agreed(
    contents: Contents,
    options: LoadOptions,
    *,
    details: tuple[str, ...] = (),
    local_files: LocalFiles | None = None,
) -> AgreedFile:
    """The file of ``contents``, if the user agreed to run what opening it runs.

    ``details`` say in sentences what is special about this kind of file; what its pickles import and call, the
    ``local_files`` and how the process is confined are said here. Raises ConsentRequiredError without consent for this
    content, LoadError when the file cannot be read or is not the one that ``contents`` were read from.
    """
    path = Path(contents.file)
    local_files = local_files or LocalFiles(path.absolute().parent, {})
    with open_file(path) as region:
        stamp = _stamp(region)
        content = region.read(0, region.size) if region.size <= IN_MEMORY else None
        sha256 = hashlib.sha256(content).hexdigest() if content is not None else _hash(region, stamp)
        digest = _digest(sha256, local_files)
        if not options.trust or (options.digest and options.digest != digest):
            whole = region if content is None else Region(io.BytesIO(content), path, len(content))
            _check_same(contents, whole)
            raise _required(contents, digest, details, local_files, has_changed=options.trust)
    return AgreedFile(path, sha256, digest, local_files, not options.digest, stamp, content)


def _check_same(contents: Contents, region: Region) -> None:
    """Raises LoadError unless ``contents``, which the user is about to be shown, are what was hashed."""
    if read_region(region, Budget()) != contents:
        raise _changed(region.file)


def _changed(path: Path) -> LoadError:
    return LoadError(
        f"{shown(path.name)} changed while it was opened.", hint="Open it again.", file=str(path)
    )


def _stamp(region: Region) -> _Stamp:
    status = os.fstat(region.handle.fileno())
    return _Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)


def _hash(region: Region, stamp: _Stamp) -> str:
    """SHA-256 of an open file. Raises LoadError when it changes meanwhile."""
    path = region.file.absolute()
    known = _hashed.get((path, stamp))
    if known is not None:
        return known
    whole = hashlib.sha256()
    for start in range(0, region.size, CHUNK):
        whole.update(region.read(start, min(CHUNK, region.size - start)))
    if _stamp(region) != stamp:
        raise _changed(region.file)
    _hashed[path, stamp] = whole.hexdigest()
    return whole.hexdigest()


def _digest(sha256: str, local_files: LocalFiles) -> str:
    if not local_files.files:
        return sha256
    code = consent.digest(local_files.root, local_files.files)
    return hashlib.sha256(f"{sha256} {code}".encode()).hexdigest()


def _required(
    contents: Contents, digest: str, details: tuple[str, ...], local_files: LocalFiles, *, has_changed: bool
) -> ConsentRequiredError:
    changed = " It, or code beside it, has changed since you agreed." if has_changed else ""
    lines = (
        *foreign_lines(contents),
        *details,
        *_harmless_lines(contents),
        *_local_lines(local_files),
        confine.network_words(),
        "While it loads, its memory is limited to what is free. It can read and change your files.",
    )
    return ConsentRequiredError(
        f"Opening {shown(Path(contents.file).name)} runs code that is in it or that it names.{changed}",
        file=contents.file,
        digest=digest,
        details=lines,
        contents=contents,
    )


def _harmless_lines(contents: Contents) -> Iterator[str]:
    """What unpickling would import of torch and for plain data, in one line each."""
    for origin, words in (("torch", "Uses classes and functions of torch"), ("data", "Uses, for plain data")):
        names = [
            f"{shown(each.name, 80)}{times(each.count)}" for each in contents.imports if each.origin == origin
        ]
        if names:
            yield f"{words}: {listed(names)}."


def _local_lines(local_files: LocalFiles) -> Iterator[str]:
    """The files beside it that would run, and their statements that do more than define."""
    root, files = local_files
    if not files:
        return
    places = sorted(path.relative_to(root).as_posix() for path in files)
    yield f"Runs from its folder: {', '.join(places)}."
    yield from consent.statements({path.relative_to(root).as_posix(): files[path] for path in sorted(files)})


def local_modules(path: Path, names: Iterable[str]) -> LocalFiles:
    """The Python files beside ``path`` that importing modules of these ``names`` would run, with what these import.

    They are looked for in the folder of the file and, where that is a package, in the one above its outermost package.
    """
    folder = path.absolute().parent
    budget = consent.Budget()
    for root in dict.fromkeys((folder, consent.package_root(folder / "_"))):
        files: Files = {}
        for name in names:
            if not all(part.isidentifier() for part in name.split(".")):
                continue  # a pickle may name anything, a path too
            for found in consent.resolve(root, name):
                source = consent.read_local(found, budget) if found not in files else None
                if source is not None:
                    consent.add_local_files(found, source, root, files, budget)
        if files:
            return LocalFiles(root, files)
    return LocalFiles(folder, {})
