"""Operators of ``ai.onnx.ml``: linear models and support vectors are counted, trees and dictionaries are not."""

from __future__ import annotations

from math import prod

from engine.cost import Work
from engine.cost.per_element import per_element_work
from engine.onnx.translate.combined import Extra, products
from engine.onnx.translate.registry import NodeCall, translates
from engine.onnx.translate.uncounted import Reason, uncounted

ML = "ai.onnx.ml"
_NOTHING = ("movement", Work(0, 0, 0, "FLOPs = 0: data movement"))
_POST = {"NONE": (0, 0), "LOGISTIC": (1, 1), "PROBIT": (1, 1)}
"""FLOPs and special ones of what follows, per output; softmax counts 5 (2 special)."""


@translates("ArrayFeatureExtractor", "FeatureVectorizer", "OneHotEncoder", domain=ML)
@translates("CastMap", "CategoryMapper", "DictVectorizer", "LabelEncoder", "ZipMap", domain=ML)
def lookups(call: NodeCall) -> tuple[str, Work]:
    """Joins, picks and looks up in dictionaries: 0 MACs, 0 FLOPs."""
    return _NOTHING


@translates("TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor", domain=ML)
def trees(call: NodeCall) -> tuple[str, Work]:
    """Not counted: how many comparisons a path through a tree takes depends on the data."""
    return uncounted(Reason("compares as often as the paths through its trees are long"), call)


@translates("Binarizer", "Imputer", "Scaler", domain=ML)
def per_feature(call: NodeCall) -> tuple[str, Work]:
    """FLOPs per element: Binarizer 1 (compare) · Imputer 2 (compare, select) · Scaler 2 (sub, mul)."""
    each, counts = {"Binarizer": (1, "compare"), "Imputer": (2, "compare, select")}.get(
        call.op, (2, "sub, mul")
    )
    return "elementwise", per_element_work(prod(call.output()), each, 0, counts)


@translates("Normalizer", domain=ML)
def normalizer(call: NodeCall) -> tuple[str, Work]:
    """Rows of n elements divided by their norm.

    FLOPs per row: MAX 2 n − 1 (n special) · L1 3 n − 1 (n special) · L2 3 n (n + 1 special). Source: ONNX, Normalizer.
    """
    shape = call.output()
    total = prod(shape)
    rows = total // shape[-1] if total else 0
    each, row, roots = {"L1": (3, 1, 0), "L2": (3, 0, 1)}.get(call.text("norm", "MAX"), (2, 1, 0))
    flops, special = each * total - row * rows, total + roots * rows
    return "norm", Work(
        0, flops, special, f"FLOPs of {rows:,} rows, {total:,} elements = {flops:,}, special {special:,}"
    )


@translates("LinearRegressor", "LinearClassifier", domain=ML)
def linear(call: NodeCall) -> tuple[str, Work]:
    """X ``(N, F)`` times coefficients ``(targets, F)``. MACs = N · targets · F; FLOPs = 2 · MACs + intercepts + post.

    Post-transformations: LOGISTIC and PROBIT 1 (special) per output, SOFTMAX 5 (2 special).
    Source: ONNX, LinearRegressor, LinearClassifier.
    """
    rows, features = _table(call)
    coefficients = call.node.attributes.get("coefficients")
    count = len(coefficients) if isinstance(coefficients, tuple) else 0
    targets = count // features if features else 0
    intercepts = Extra("intercepts", rows * targets if call.node.attributes.get("intercepts") else 0)
    macs = rows * targets * features
    what = f"N·targets·F = {rows:,}·{targets}·{features}"
    return "linear", products(macs, what, (), intercepts, _post(call, rows * targets))


@translates("SVMRegressor", "SVMClassifier", domain=ML)
def support_vectors(call: NodeCall) -> tuple[str, Work]:
    """Kernels of X ``(N, F)`` with V support vectors, then their weighted sum per decision.

    MACs = N · V · F for the kernels + N · V · D, D = 1 for a regressor, classes − 1 for one class against another
    FLOPs = 2 · MACs + per kernel: LINEAR 0 · POLY 3 (1 special) · SIGMOID 3 (1 special) · RBF F + 2 (1 special)

    Without support vectors it is linear: MACs = N · coefficients. Probabilities (Platt's scaling) are left out.
    Source: ONNX, SVMRegressor, SVMClassifier.
    """
    rows, features = _table(call)
    attributes = call.node.attributes
    vectors = call.whole("n_supports") or sum(call.wholes("vectors_per_class"))
    coefficients = attributes.get("coefficients")
    if not vectors:
        macs = rows * (len(coefficients) if isinstance(coefficients, tuple) else 0)
        return "linear", products(
            macs, f"N·coefficients of {rows:,} rows", (), _post(call, prod(call.output()))
        )
    decisions = max(len(call.wholes("vectors_per_class")) - 1, 1)
    kernels = rows * vectors
    macs = kernels * (features + decisions)
    kind = call.text("kernel_type", "LINEAR")
    each, special = {"POLY": (3, 1), "SIGMOID": (3, 1), "RBF": (features + 2, 1)}.get(kind, (0, 0))
    what = f"N·V·(F + decisions) = {rows:,}·{vectors}·({features} + {decisions})"
    return "linear", products(macs, what, (), Extra(f"{kind} kernel", each * kernels, special * kernels))


def _table(call: NodeCall) -> tuple[int, int]:
    """(rows, features) of the first input; one row where it has one dimension."""
    shape = call.input()
    features = shape[-1] if shape else 1
    return (prod(shape) // features if features else 0), features


def _post(call: NodeCall, outputs: int) -> Extra:
    each, special = _POST.get(call.text("post_transform", "NONE"), (5, 2))
    return Extra(call.text("post_transform", "NONE").lower(), each * outputs, special * outputs)
