"""What a forward pass leaves behind in its model: inputs that it writes to, attributes and buffers that it changes.

A measurement repeats one pass. Without this a model whose cache grows, or that divides its input in place, would be
another one at every pass. What is computed once and kept stays: that is how the model runs for its user.
"""

from __future__ import annotations

from torch import Tensor
from torch.utils import _pytree as pytree

from engine.session import RealModel
from engine.trace.state import ModuleState


class SideEffects:
    """Made before the first pass; :meth:`undo` is called after every one, and costs nothing where there are none."""

    def __init__(self, model: RealModel) -> None:
        self._model = model
        leaves = pytree.tree_leaves((model.args, model.kwargs))
        inputs = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        self._inputs = [(tensor, tensor.clone(), _version(tensor)) for tensor in inputs]
        self._buffers = [(tensor, _version(tensor)) for tensor in model.module.buffers()]
        self._written: list[tuple[Tensor, Tensor]] = []
        self._state: ModuleState | None = None
        self.found: bool | None = None
        """Whether a pass changes what an earlier one left; None until two have run."""

    def undo(self) -> None:
        """Back to how the first pass left it, the inputs to how they were made. In inference mode."""
        if self._state is None:
            self._written = [(now, kept) for now, kept, version in self._inputs if _version(now) != version]
            self._written += [
                (now, now.clone()) for now, version in self._buffers if _version(now) != version
            ]
            self._state = ModuleState(self._model.module)
            self._inputs, self._buffers = [], []
        elif self.found is None:
            self.found = self._state.restore() or bool(self._written)
        elif self.found:
            self._state.restore()
        for tensor, value in self._written:
            tensor.copy_(value)


def _version(tensor: Tensor) -> int:
    """Grows with every write; 0 for a tensor made in inference mode, which does not count them."""
    return 0 if tensor.is_inference() else tensor._version
