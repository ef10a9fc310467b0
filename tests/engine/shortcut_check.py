"""Runs every shortcut beside the real meta kernel and collects answers that differ."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from engine.trace.ops import op_info


class ShortcutCheck(TorchDispatchMode):
    """Executes the real kernel of every operation; where a shortcut answers too, both answers must be alike."""

    def __init__(self) -> None:
        super().__init__()
        self.answered: dict[str, int] = {}
        self.differences: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        shortcut = op_info(func).shortcut
        quick = shortcut(*args, **kwargs) if shortcut is not None else NotImplemented
        out = func(*args, **kwargs)
        if quick is not NotImplemented:
            self.answered[str(func)] = self.answered.get(str(func), 0) + 1
            same_layout = not _lays_out_like_cpu(str(func), args)
            want, got = self._facts(out, args, same_layout), self._facts(quick, args, same_layout)
            if want != got:
                shapes = [tuple(a.shape) if isinstance(a, Tensor) else a for a in args]
                self.differences.append(f"{func}{shapes}: kernel {want}, shortcut {got}")
        return out

    @staticmethod
    def _facts(out: Any, args: Any, with_strides: bool) -> tuple[Any, ...]:
        if isinstance(out, (tuple, list)):
            return tuple(ShortcutCheck._facts(part, args, with_strides) for part in out)
        assert isinstance(out, Tensor)
        alias = next((i for i, a in enumerate(args) if a is out), None)
        strides = tuple(s for s, n in zip(out.stride(), out.shape, strict=True) if n != 1)
        return tuple(out.shape), out.dtype, strides if with_strides else None, alias


def _lays_out_like_cpu(name: str, args: Any) -> bool:
    """The two stated places where a shortcut follows the CPU kernel's strides instead of the meta kernel's."""
    if name.startswith("aten.scaled_dot_product_attention"):
        return True
    return name.startswith("aten.conv2d") and not args[0].is_contiguous()
