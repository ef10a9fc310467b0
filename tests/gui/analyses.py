"""Hand-made analyses for tests of models and panels: a small convolutional net, with and without its pool."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from engine.configuration import Configuration
from engine.edits import RemoveLayer
from engine.graph import InputShape
from engine.metrics import ratio
from engine.results import Analysis, Coverage, Layers, ModelInfo, Modules, Totals


class Row(msgspec.Struct):
    """One operation row; what is left out is 0 or empty."""

    id: str
    path: str
    family: str = "other"
    calls: int = 1
    params: int = 0
    macs: int | None = 0
    flops: int | None = 0
    activation_bytes: int = 0
    peak_activation_bytes: int = 0
    bytes_moved: int = 0
    shared: bool = False
    input_shapes: tuple[tuple[int, ...], ...] = ((1, 8),)
    output_shapes: tuple[tuple[int, ...], ...] = ((1, 8),)
    formula: str = ""

    @property
    def op(self) -> str:
        return self.id.rpartition(":")[2].partition("#")[0]


class Mod(msgspec.Struct):
    """One module."""

    path: str
    class_name: str = "Module"
    params: int = 0
    calls: int = 1
    removed: bool = False
    untouched: int = 0
    attributes: dict[str, object] = {}
    editable: tuple[str, ...] = ()


def make(
    mods: Sequence[Mod],
    rows: Sequence[Row],
    *,
    size: int = 224,
    name: str = "net",
    removed: Sequence[str] = (),
    totals: dict[str, object] | None = None,
) -> Analysis:
    """An analysis whose totals are sums of ``rows`` (and params those of the model), unless given."""
    index = {mod.path: i for i, mod in enumerate(mods)}

    def column(key: str) -> tuple[object, ...]:
        return tuple(getattr(row, key) for row in rows)

    def total(key: str) -> int:
        return sum(value for value in column(key) if isinstance(value, int))

    layers = msgspec.convert(
        {
            **{key: column(key) for key in Row.__struct_fields__},
            "op": column("op"),
            "special_ops": tuple(0 for _ in rows),
            "weight_bytes": tuple(4 * row.params for row in rows),
            "dtype": tuple("float32" for _ in rows),
        },
        Layers,
    )
    modules = msgspec.convert(
        {
            "path": tuple(mod.path for mod in mods),
            "class_name": tuple(mod.class_name for mod in mods),
            "parent": tuple(-1 if not mod.path else index[mod.path.rpartition(".")[0]] for mod in mods),
            "calls": tuple(mod.calls for mod in mods),
            "params": tuple(mod.params for mod in mods),
            "weight_bytes": tuple(4 * mod.params for mod in mods),
            "untouched_params": tuple(mod.untouched for mod in mods),
            "removed": tuple(mod.removed for mod in mods),
            "attributes": tuple(mod.attributes for mod in mods),
            "editable": tuple(mod.editable for mod in mods),
        },
        Modules,
    )
    params = mods[0].params
    sums = {
        "params": params,
        "trainable_params": params,
        "buffers": 0,
        "untouched_params": sum(mod.untouched for mod in mods[:1]),
        "macs": total("macs"),
        "flops": total("flops"),
        "special_ops": 0,
        "weight_bytes": 4 * params,
        "activation_bytes": total("activation_bytes"),
        "peak_activation_bytes": max((row.peak_activation_bytes for row in rows), default=0),
        "bytes_moved": total("bytes_moved"),
        "arithmetic_intensity": ratio(total("flops"), total("bytes_moved")),
        "reuse": ratio(total("macs"), params),
        **(totals or {}),
    }
    unknown = sum(row.flops is None for row in rows)
    return Analysis(
        model=ModelInfo(name, f"test:{name}", "module", class_name=mods[0].class_name),
        configuration=Configuration(
            (InputShape("x", (1, 3, size, size)),), tuple(RemoveLayer(path) for path in removed)
        ),
        mode="meta",
        totals=msgspec.convert(sums, Totals),
        coverage=Coverage(len(rows), len(rows) - unknown),
        layers=layers,
        modules=modules,
        output_shapes=((1, 10),),
    )


CONV_FIELDS = ("kernel_size", "stride", "padding", "dilation")


def small_net(size: int = 224, *, pool: bool = True) -> Analysis:
    """conv1, relu, pool (/2), two blocks with a functional add each, fc; one module that is never called.

    MACs are those of the real operations: conv1 is 3→8, 3×3, the blocks are 8→8, 3×3, fc is 8→10.
    """
    big = size * size
    small = (size // 2) ** 2 if pool else big
    out = (1, 8, size, size)
    inner = (1, 8, size // 2, size // 2) if pool else out
    conv: dict[str, object] = {
        "in_channels": 8,
        "out_channels": 8,
        "kernel_size": (3, 3),
        "stride": (1, 1),
        "padding": (1, 1),
        "dilation": (1, 1),
    }
    mods = [
        Mod("", "SmallNet", 216 + 20 + 1152 + 90, untouched=20),
        Mod("conv1", "Conv2d", 216, attributes={**conv, "in_channels": 3}, editable=CONV_FIELDS),
        Mod("aux", "Linear", 20, calls=0, untouched=20),
        Mod("relu", "ReLU", calls=3),
        Mod("pool", "Identity" if not pool else "MaxPool2d", removed=not pool),
        Mod("blocks", "Sequential", 1152),
        Mod("blocks.0", "Block", 576),
        Mod("blocks.0.conv", "Conv2d", 576, attributes=conv, editable=CONV_FIELDS),
        Mod("blocks.1", "Block", 576),
        Mod("blocks.1.conv", "Conv2d", 576, attributes=conv, editable=CONV_FIELDS),
        Mod("fc", "Linear", 90, attributes={"in_features": 8, "out_features": 10}),
    ]

    def convolution(path: str, macs: int, params: int, positions: int) -> Row:
        return Row(
            f"{path}:conv2d",
            path,
            "convolution",
            params=params,
            macs=macs,
            flops=2 * macs,
            activation_bytes=32 * positions,
            peak_activation_bytes=64 * positions,
            bytes_moved=64 * positions + 4 * params,
            input_shapes=(inner,),
            output_shapes=(out if positions == big else inner,),
            formula=f"N · C_out · H · W · C_in · k² = {macs:,}",
        )

    rows = [
        convolution("conv1", 216 * big, 216, big),
        Row("relu:relu", "relu", "activation", 1, flops=8 * big, bytes_moved=64 * big, output_shapes=(out,)),
    ]
    if pool:
        rows.append(
            Row(
                "pool:max_pool2d",
                "pool",
                "pool",
                flops=3 * 8 * small,
                activation_bytes=32 * small,
                peak_activation_bytes=32 * (big + small),
                bytes_moved=32 * (big + small),
                output_shapes=(inner,),
            )
        )
    for block in ("blocks.0", "blocks.1"):
        rows.append(convolution(f"{block}.conv", 576 * small, 576, small))
        rows.append(
            Row(
                f"{block}:add",
                block,
                "elementwise",
                flops=8 * small,
                bytes_moved=96 * small,
                output_shapes=(inner,),
            )
        )
    rows.append(Row(":mean", "", "pool", flops=8 * small, bytes_moved=32 * small, output_shapes=((1, 8),)))
    rows.append(
        Row(
            "fc:linear",
            "fc",
            "linear",
            params=90,
            macs=80,
            flops=170,
            activation_bytes=40,
            peak_activation_bytes=72,
            bytes_moved=432,
            output_shapes=((1, 10),),
        )
    )
    return make(mods, rows, size=size, name="smallnet", removed=() if pool else ("pool",))
