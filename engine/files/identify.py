"""What a file is, by its first bytes: names and extensions lie, and every downloader has its own."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from engine.errors import LoadError
from engine.files import onnx, safetensors
from engine.files.archive import LOCAL_MAGIC
from engine.files.pickles import could_be_pickle, is_legacy, is_surely_pickle
from engine.files.regions import Region, open_file

HEAD = 512


class Foreign(NamedTuple):
    """A kind of file that is recognised and not read: what it is, and what to do."""

    what: str
    advice: str


UNKNOWN = Foreign(
    "none of the kinds of model file that are known", "Give a file that PyTorch saved, safetensors, or ONNX."
)

_OTHERS = (
    (
        0,
        b"version https://git-lfs",
        "a pointer of Git LFS, not the file itself",
        "Fetch it with git lfs pull.",
    ),
    (0, b"\x89HDF\r\n", "an HDF5 file, as Keras writes it", "Convert the model to PyTorch or ONNX."),
    (0, b"GGUF", "a GGUF file of llama.cpp", "Open the PyTorch weights it was made from."),
    (4, b"ORTM", "in onnxruntime's own format (.ort)", "Open the ONNX model that it was made from."),
    (4, b"TFL3", "a TensorFlow Lite model", "Convert it to ONNX with tf2onnx."),
    (0, b"\x93NUMPY", "a numpy array", "Open the model it belongs to."),
    (0, b"\x1f\x8b", "compressed with gzip", "Unpack it first."),
    (0, b"7z\xbc\xaf", "a 7z archive", "Unpack it first."),
    (0, b"BZh", "compressed with bzip2", "Unpack it first."),
    (0, b"\xfd7zXZ", "compressed with xz", "Unpack it first."),
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstandard", "Unpack it first."),
    (0, b"\x7fELF", "a program or library", "Give a model file."),
    (0, b"MZ", "a Windows program", "Give a model file."),
    (0, b"%PDF", "a PDF document", "Give a model file."),
    (0, b"\x89PNG", "a picture", "Give a model file."),
    (0, b"\xff\xd8\xff", "a picture", "Give a model file."),
)


def identify(region: Region) -> str | Foreign:
    """``zip``, ``legacy``, ``tar``, ``safetensors``, ``json``, ``onnx``, ``pickle``, ``perhaps pickle``
    (protocols 0 and 1 have no mark of their own), or what else it is.

    The order is torch's own: an archive by its first four bytes, whatever else may be attached to it.
    """
    head = region.read(0, min(HEAD, region.size))
    if not head:
        return Foreign("empty", "It was not written or not copied whole: get it again.")
    if head.startswith(LOCAL_MAGIC):
        return "zip"
    if is_legacy(head):
        return "legacy"
    if head[257:262] == b"ustar":
        return "tar"
    for offset, magic, what, advice in _OTHERS:
        if head[offset : offset + len(magic)] == magic:
            return Foreign(what, advice)
    if safetensors.looks_right(head, region.size):
        return "safetensors"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:9].lower() in (b"<!doctype", b"<html><he") or text[:5].lower() == b"<html":
        return Foreign("a web page", "The download went wrong: get the file itself, not the page about it.")
    if _is_onnx_text(text):
        return Foreign("an ONNX model as text", "Save it as .onnx: onnx.save(onnx.load(path), 'net.onnx').")
    if text.startswith(b"{"):
        return "json"
    if onnx.looks_right(region, head):
        return "onnx"
    if is_surely_pickle(head):
        return "pickle"
    return "perhaps pickle" if could_be_pickle(head) else UNKNOWN


def is_onnx(path: Path) -> bool:
    """Whether ``path`` is an ONNX model by its content; False also for what cannot be read."""
    try:
        with open_file(path) as region:
            return identify(region) == "onnx"
    except LoadError:
        return False


def _is_onnx_text(text: bytes) -> bool:
    """The three ways of onnx to write a model for eyes: its own syntax, protobuf's, JSON."""
    start = b"".join(text[:64].split())
    return start.startswith((b"<ir_version:", b"ir_version:", b'{"irVersion"'))
