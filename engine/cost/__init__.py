"""What one executed operation costs: one pure function per operation, from shapes to :class:`Work`.

    from engine.cost import cost_of
    family, work = cost_of(call)        # call: engine.graph.OpCall

Where is the formula of an operation? In the module of its family, under its aten name: LayerNorm is
``@cost_formula("layer_norm", …)`` in ``norm.py``. Every module in this folder is imported below, so
**adding an operation is one function** (or one line of a table) in one file; a family is one new file:

    @cost_formula("my_op", family="activation")
    def my_op(call: OpCall) -> Work:
        \"\"\"What it computes, with symbols.

        FLOPs = 3 per output element: compare, mul, add.
        What is left out and how wrong that is. Source: where the definition stands.
        \"\"\"
        outputs = elements(call.outputs[0])
        return Work(0, 3 * outputs, 0, f"FLOPs = 3 · {outputs:,} elements = {3 * outputs:,}")

``call.inputs`` are the shapes of the tensor arguments in schema order, ``call.args`` all arguments by the
name they have in the operator's schema (``torch.ops.aten.NAME.default._schema``); an argument left at its
default may be absent, so read it with ``args.get(name, default)``. An operation whose cost is a fixed
number per output element is a line of a table: see ``per_element`` and its uses in ``elementwise.py`` and
``activation.py``; one that computes nothing goes into ``movement.py``, one whose work depends on the data
into ``uncounted.py``.

``Work.weighted`` says which MACs a zero in a weight would make void, so that "MACs on non-zero weights" follow: one
more argument of the formula, ``weighted=((1, macs),)`` where all MACs multiply elements of ``call.inputs[1]``.

Conventions (docs: "What is counted"): a multiply–accumulate is 1 MAC and 2 FLOPs; special operations
(division, root, exponential …) are 1 FLOP each and counted apart as well; None means not counted, never 0.
Complex numbers count as if they were real: too low by 2 to 6 × for arithmetic on complex tensors. Nothing
here imports torch.
"""

from __future__ import annotations

import importlib
import pkgutil

from engine.cost.registry import Work, cost_formula, cost_of, explanation, known_ops

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["Work", "cost_formula", "cost_of", "explanation", "known_ops"]
