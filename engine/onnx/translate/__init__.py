"""What one ONNX node computes: ``work(call) -> (family, Work)``, through the same formulas as every other format.

Where is the formula of an operator? In the module of its family, under its ONNX name. A translation says which
operation of engine.cost a node is, so that one formula holds for all formats:

    @translates("Conv")
    def conv(call: NodeCall) -> OpCall:
        return OpCall("conv2d", call.inputs, (call.output(),), {"bias": call.optional(2)})

or, where no other format has the operation, its family and its work at once. ``Work.weighted`` counts positions among
the inputs of the *node*. Every module in this folder is imported: adding an operator is one function in one file.
"""

from __future__ import annotations

import importlib
import pkgutil

from engine.onnx.translate.registry import NodeCall, explanation, known_operators, work

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["NodeCall", "explanation", "known_operators", "work"]
