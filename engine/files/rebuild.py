"""The calls of a pickle that only make data: tensors, their storages, ordered dicts, numpy arrays and scalars.

``DATA_CALLS`` has one function per callable, found by its name. It gets the arguments as inert values and returns the
value, or NotImplemented when with these arguments it would be more than data. Sources: ``torch/_utils.py``,
``torch/_tensor.py``, ``torch/storage.py`` (2.15), ``numpy/_core/multiarray.py`` (2.4).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TypeAlias

from engine.contents import shown
from engine.files.dtypes import SIZES, numpy_dtype, numpy_size, storage_dtype, torch_dtype
from engine.files.limits import MAX_COUNT, MAX_DIMENSIONS, Budget
from engine.files.regions import Region
from engine.files.values import (
    Array,
    Blob,
    Dict,
    Global,
    Instance,
    MalformedError,
    NumpyType,
    Set,
    Storage,
    Tensor,
    Value,
)
from engine.graph import Shape

DataCall: TypeAlias = Callable[["Rebuilder", tuple[Value, ...]], Value]
DATA_CALLS: dict[str, DataCall] = {}

_TORCH_CLASS = re.compile(r"torch\.(nn\.modules|nn\.parallel|nn\.utils|optim|ao\.nn)\.[\w.]+")
_TORCH_FUNCTIONS = ("torch.nn.functional", "torch._C._nn")
_DATA_GLOBALS = frozenset(
    {"torch._tensor._rebuild_from_type_v2", "torch._tensor._rebuild_from_type", "copyreg._reconstructor",
     "torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer", "torch.storage.UntypedStorage",
     "torch.storage.TypedStorage", "torch.storage._TypedStorage", "torch.storage._UntypedStorage",
     "torch.sparse_coo", "torch.sparse_csr", "torch.sparse_csc", "torch.sparse_bsr", "torch.sparse_bsc",
     "torch.strided", "torch.per_tensor_affine", "torch.per_channel_affine",
     "torch.per_channel_affine_float_qparams", "torch.contiguous_format", "torch.preserve_format",
     "torch.channels_last", "torch.channels_last_3d", "numpy.ndarray"}
)  # fmt: skip


def origin_of(name: Global) -> str:
    """``data``, ``torch`` or ``other``: see ``contents.Import``."""
    full = name.full
    if full in DATA_CALLS or full in _DATA_GLOBALS:
        return "data"
    if "." in name.name:
        return "other"
    if name.module == "torch" and (torch_dtype(name.name) or storage_dtype(name.name)):
        return "data"
    if name.module == "torch.cuda" and storage_dtype(name.name):
        return "data"
    if name.module == "numpy.dtypes" and name.name.endswith("DType"):
        return "data"
    if _TORCH_CLASS.fullmatch(name.module) and name.name[:1].isupper():
        return "torch"
    if name.module in _TORCH_FUNCTIONS and not name.name.startswith("_"):
        return "torch"
    return "other"


def data_call(*names: str) -> Callable[[DataCall], DataCall]:
    """Registers the function for callables of these full names."""

    def register(function: DataCall) -> DataCall:
        for name in names:
            assert name not in DATA_CALLS
            DATA_CALLS[name] = function
        return function

    return register


class Rebuilder:
    """What rebuilding needs to know of the file: where its storages are.

    ``stored`` gives the bytes of a storage by its key, None when there is none; it is None itself when they stand
    behind the pickle. ``load_bytes`` reads a torch file inside the pickle.
    """

    def __init__(
        self,
        region: Region,
        budget: Budget,
        stored: Callable[[str], int | None] | None,
        load_bytes: Callable[[Region], Value],
        name: str = "",
    ) -> None:
        """``name`` goes before all keys: of a file inside another."""
        self.region = region
        self._name = name
        self.budget = budget
        self.storages: dict[str, Storage] = {}
        self.arrays: dict[str, tuple[Storage, Region, str]] = {}
        """Of numpy arrays, whose bytes are in the pickle: storage, place and byte order."""
        self._stored = stored
        self._load_bytes = load_bytes

    def persistent(self, key: Value) -> Value:
        """A persistent id: ``("storage", type, key, location, numel[, view])``, or ``("module", class, …)``."""
        if not isinstance(key, tuple) or not key:
            raise MalformedError("a persistent id is none that torch writes")
        if key[0] == "module" and len(key) > 1:
            return key[1]
        if key[0] != "storage" or len(key) not in (5, 6) or not isinstance(key[2], str):
            raise MalformedError("a persistent id is none that torch writes")
        return self._storage(key[1], key[2], key[4])

    def _storage(self, kind: Value, key: str, count: Value) -> Storage:
        dtype = storage_dtype(kind.name) if isinstance(kind, Global) else None
        if dtype is None:
            raise MalformedError(f"storage {shown(key, 40)} is of no known type")
        size = size_of(count) * SIZES[dtype]
        known = self.storages.get(key)
        if known is not None and known.bytes >= size and known.dtype == dtype:
            return known
        storage = Storage(self._name + key, dtype, size)
        if self._stored is not None:
            there = self._stored(key)
            if there is None:
                raise MalformedError(f"the data of storage {shown(key, 40)} is missing")
            if there < size:
                raise MalformedError(f"storage {shown(key, 40)} should have {size:,} bytes and has {there:,}")
        self.storages[key] = storage
        return storage

    def load_bytes(self, region: Region) -> Value:
        """The value of ``torch.save``d bytes inside the pickle."""
        return self._load_bytes(region)

    def fill_array(self, array: Array, state: Value) -> None:
        """``ndarray.__setstate__((version, shape, dtype, is_fortran, data))``."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise MalformedError("the state of a numpy array is not what numpy writes")
        array.shape = shape_of(state[1])
        dtype = state[2]
        if isinstance(dtype, NumpyType):
            array.dtype, array.itemsize = dtype.dtype, dtype.itemsize
        data = state[4]
        if isinstance(data, Blob) and data.region.size != math.prod(array.shape) * array.itemsize:
            raise MalformedError("a numpy array has another size than its data")
        if isinstance(data, Blob) and isinstance(dtype, NumpyType):
            self.keep_array(array, data.region, dtype, bool(state[3]))

    def keep_array(self, array: Array, region: Region, dtype: NumpyType, by_columns: bool) -> None:
        """Notes where the numbers of an array are, if they are of a kind that torch has too."""
        if not region.size or SIZES.get(dtype.dtype) != dtype.itemsize:
            return
        self.budget.spend_work(len(array.shape))
        strides, step = [], 1
        for size in array.shape if by_columns else reversed(array.shape):
            strides.append(step)
            step *= size
        array.stride = tuple(strides if by_columns else reversed(strides))
        key = f"array {len(self.arrays)}"
        array.storage = Storage(self._name + key, dtype.dtype, region.size)
        self.arrays[key] = (array.storage, region, dtype.order)


def size_of(value: Value) -> int:
    """A count. Raises MalformedError for anything but an integer from 0 to 2⁶³ − 1."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_COUNT:
        raise MalformedError("a size or offset is no count that memory can have")
    return value


def shape_of(value: Value) -> Shape:
    """A tuple of sizes, also of ``torch.Size``."""
    if not isinstance(value, (tuple, list)) or len(value) > MAX_DIMENSIONS:
        raise MalformedError("a shape is no tuple of sizes")
    shape = tuple(size_of(size) for size in value)
    if math.prod(shape) > MAX_COUNT:
        raise MalformedError("a shape has more elements than memory can have")
    return shape


def dtype_of(value: Value) -> str:
    """The dtype that a global names: ``torch.bfloat16``."""
    dtype = torch_dtype(value.name) if isinstance(value, Global) and value.module == "torch" else None
    if dtype is None:
        raise MalformedError("a tensor is of no dtype that torch has")
    return dtype


def make_tensor(storage: Value, offset: Value, size: Value, stride: Value, dtype: str = "") -> Tensor:
    """A view of ``storage``. Raises MalformedError when it reaches beyond it."""
    if not isinstance(storage, Storage):
        raise MalformedError("a tensor has no storage")
    dtype = dtype or storage.dtype
    shape, strides, start = shape_of(size), shape_of_stride(stride), size_of(offset)
    if len(shape) != len(strides):
        raise MalformedError("a tensor has another number of sizes than of strides")
    count = math.prod(shape)
    last = start + sum((size - 1) * step for size, step in zip(shape, strides, strict=True)) + 1
    if count and last * SIZES[dtype] > storage.bytes:
        raise MalformedError(
            f"a tensor of {count:,} elements reaches beyond its storage {shown(storage.key, 40)}"
            f" of {storage.bytes:,} bytes"
        )
    return Tensor(shape, strides, dtype, count * SIZES[dtype], storage, start)


def shape_of_stride(value: Value) -> Shape:
    if not isinstance(value, (tuple, list)) or len(value) > MAX_DIMENSIONS:
        raise MalformedError("strides are no tuple of counts")
    return tuple(size_of(step) for step in value)


def _need(args: tuple[Value, ...], least: int, name: str) -> None:
    if len(args) < least:
        raise MalformedError(f"{name} takes at least {least} arguments")


@data_call("torch._utils._rebuild_tensor")
def rebuild_tensor(_: Rebuilder, args: tuple[Value, ...]) -> Value:
    """(storage, offset, size, stride)"""
    _need(args, 4, "_rebuild_tensor")
    return make_tensor(*args[:4])


@data_call("torch._utils._rebuild_tensor_v2")
def rebuild_tensor_v2(_: Rebuilder, args: tuple[Value, ...]) -> Value:
    """(storage, offset, size, stride, requires_grad, backward_hooks[, metadata])"""
    _need(args, 6, "_rebuild_tensor_v2")
    return make_tensor(*args[:4])


@data_call("torch._utils._rebuild_tensor_v3")
def rebuild_tensor_v3(_: Rebuilder, args: tuple[Value, ...]) -> Value:
    """(storage, offset, size, stride, requires_grad, backward_hooks, dtype[, metadata]); offset counts its elements."""
    _need(args, 7, "_rebuild_tensor_v3")
    return make_tensor(args[0], args[1], args[2], args[3], dtype_of(args[6]))


@data_call("torch._utils._rebuild_qtensor")
def rebuild_qtensor(_: Rebuilder, args: tuple[Value, ...]) -> Value:
    """(storage, offset, size, stride, quantizer, requires_grad, backward_hooks)"""
    _need(args, 7, "_rebuild_qtensor")
    return make_tensor(*args[:4])


@data_call("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")
def rebuild_parameter(_: Rebuilder, args: tuple[Value, ...]) -> Value:
    """(data, requires_grad, backward_hooks[, state])"""
    _need(args, 3, "_rebuild_parameter")
    data = args[0]
    if not isinstance(data, Tensor):
        raise MalformedError("a parameter holds no tensor")
    parameter = Tensor(data.shape, data.stride, data.dtype, data.bytes, data.storage, data.offset)
    parameter.parameter = True
    return parameter


@data_call("torch._utils._rebuild_meta_tensor_no_storage")
def rebuild_meta_tensor(_: Rebuilder, args: tuple[Value, ...]) -> Value:
    """(dtype, size, stride, requires_grad)"""
    _need(args, 4, "_rebuild_meta_tensor_no_storage")
    shape, dtype = shape_of(args[1]), dtype_of(args[0])
    return Tensor(shape, shape_of_stride(args[2]), dtype, math.prod(shape) * SIZES[dtype])


@data_call("torch._utils._rebuild_sparse_tensor", "torch._utils._rebuild_sparse_csr_tensor")
def rebuild_sparse_tensor(_: Rebuilder, args: tuple[Value, ...]) -> Value:
    """(layout, data): data has indices (one or two tensors), values and size. The dense shape, bytes of the parts."""
    _need(args, 2, "_rebuild_sparse_tensor")
    parts = [part for part in args[1][:5] if isinstance(part, Tensor)] if isinstance(args[1], tuple) else []
    size = next((part for part in args[1][:5] if isinstance(part, tuple)), None) if parts else None
    if len(parts) < 2 or size is None:
        raise MalformedError("a sparse tensor lacks its indices, values or size")
    return Tensor(shape_of(size), (), parts[-1].dtype, sum(part.bytes for part in parts))


@data_call("torch._utils._rebuild_nested_tensor")
def rebuild_nested_tensor(_: Rebuilder, args: tuple[Value, ...]) -> Value:
    """(buffer, sizes, strides, offsets): the buffer with all values."""
    _need(args, 4, "_rebuild_nested_tensor")
    return args[0]


@data_call("torch._utils._rebuild_device_tensor_from_cpu_tensor")
def rebuild_device_tensor(_: Rebuilder, args: tuple[Value, ...]) -> Value:
    """(data, dtype, device, requires_grad)"""
    _need(args, 4, "_rebuild_device_tensor_from_cpu_tensor")
    return args[0]


@data_call("torch._utils._rebuild_device_tensor_from_numpy", "torch._utils._rebuild_xla_tensor")
def rebuild_tensor_from_numpy(_: Rebuilder, args: tuple[Value, ...]) -> Value:
    """(array, dtype, device, requires_grad)"""
    _need(args, 4, "_rebuild_device_tensor_from_numpy")
    if not isinstance(args[0], Array):
        raise MalformedError("a device tensor holds no array")
    dtype = dtype_of(args[1])
    return Tensor(args[0].shape, (), dtype, math.prod(args[0].shape) * SIZES[dtype])


@data_call("torch.storage._load_from_bytes")
def load_from_bytes(rebuilder: Rebuilder, args: tuple[Value, ...]) -> Value:
    """(bytes): a storage or tensor that was pickled without torch.save."""
    if len(args) != 1 or not isinstance(args[0], Blob):
        return NotImplemented
    return rebuilder.load_bytes(args[0].region)


@data_call("torch.Size", "torch.jit._pickle.build_intlist", "torch.jit._pickle.build_doublelist",
           "torch.jit._pickle.build_boollist", "torch.jit._pickle.build_tensorlist",
           "torch.jit._pickle.restore_type_tag")  # fmt: skip
def first_argument(_: Rebuilder, args: tuple[Value, ...]) -> Value:
    """(list[, type]): the list itself; ``torch.Size`` is a tuple."""
    return args[0] if args else ()


@data_call("torch.device", "torch.serialization._get_layout", "argparse.Namespace",
           "types.SimpleNamespace", "pathlib.PosixPath", "pathlib.PurePosixPath", "pathlib.WindowsPath",
           "pathlib.PureWindowsPath", "pathlib.Path", "datetime.datetime", "datetime.date", "datetime.time",
           "datetime.timedelta", "datetime.timezone", "decimal.Decimal", "fractions.Fraction", "uuid.UUID",
           "builtins.complex", "builtins.slice", "builtins.range", "builtins.bytearray", "builtins.bytes",
           "builtins.object")  # fmt: skip
def plain_object(_: Rebuilder, args: tuple[Value, ...]) -> Value:
    """An object of attributes or a plain value whose making does nothing else."""
    return Instance(None, args)


@data_call("collections.OrderedDict", "collections.Counter", "builtins.dict")
def ordered_dict(rebuilder: Rebuilder, args: tuple[Value, ...]) -> Value:
    """(): empty; ([[key, value], …]) in old pickles; (dict)."""
    if not args:
        return Dict()
    if len(args) != 1:
        return NotImplemented
    if isinstance(args[0], Dict):
        return args[0]
    if not isinstance(args[0], list):
        return NotImplemented
    rebuilder.budget.spend_work(len(args[0]))
    pairs = [(pair[0], pair[1]) for pair in args[0] if isinstance(pair, (list, tuple)) and len(pair) == 2]
    return Dict(pairs) if len(pairs) == len(args[0]) else NotImplemented


@data_call("collections.defaultdict")
def default_dict(_: Rebuilder, args: tuple[Value, ...]) -> Value:
    """([factory[, dict]]). The factory is listed as an import of its own."""
    return args[1] if len(args) > 1 and isinstance(args[1], Dict) else Dict()


@data_call("builtins.set", "builtins.frozenset", "builtins.list", "builtins.tuple", "collections.deque")
def collection(rebuilder: Rebuilder, args: tuple[Value, ...]) -> Value:
    """([list]): its elements."""
    if args and not isinstance(args[0], (list, tuple, Set)):
        return NotImplemented
    elements = args[0] if args else []
    if isinstance(elements, tuple):
        rebuilder.budget.spend_work(len(elements))
        elements = list(elements)
    return elements if isinstance(elements, Set) else Set(elements)


@data_call("_codecs.encode")
def encode(rebuilder: Rebuilder, args: tuple[Value, ...]) -> Value:
    """(text, "latin1"): bytes, as protocol 2 writes them. Any other codec is looked up, and imported, by its name."""
    if len(args) != 2 or not isinstance(args[0], str) or args[1] not in ("latin1", "latin-1"):
        return NotImplemented
    rebuilder.budget.spend_text(len(args[0]))
    return Blob(rebuilder.region.of_bytes(args[0].encode("latin-1"), rebuilder.region.name))


@data_call("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
def numpy_reconstruct(_: Rebuilder, args: tuple[Value, ...]) -> Value:
    """(ndarray, (0,), b"b"): an array whose state follows. Another class would be made instead."""
    if len(args) != 3 or not isinstance(args[0], Global) or args[0].full != "numpy.ndarray":
        return NotImplemented
    return Array()


@data_call("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
def numpy_scalar(_: Rebuilder, args: tuple[Value, ...]) -> Value:
    """(dtype, bytes): one number. An object scalar is a pickle of its own."""
    if len(args) != 2 or not isinstance(args[0], NumpyType) or args[0].dtype.startswith("O"):
        return NotImplemented
    return Instance(None, ())


@data_call("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer")
def numpy_frombuffer(rebuilder: Rebuilder, args: tuple[Value, ...]) -> Value:
    """(bytes, dtype, shape, order)"""
    if len(args) != 4 or not isinstance(args[1], NumpyType):
        return NotImplemented
    array = Array(args[1].dtype, shape_of(args[2]), args[1].itemsize)
    if isinstance(args[0], Blob) and args[0].region.size == math.prod(array.shape) * array.itemsize:
        rebuilder.keep_array(array, args[0].region, args[1], args[3] == "F")
    return array


@data_call("numpy.dtype")
def numpy_type(_: Rebuilder, args: tuple[Value, ...]) -> Value:
    """("f4", False, True)"""
    if not args or not isinstance(args[0], str):
        return NotImplemented
    code = args[0][:40]
    return NumpyType(numpy_dtype(code), numpy_size(code), "big" if code.startswith(">") else "little")
