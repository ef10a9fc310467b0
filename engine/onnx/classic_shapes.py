"""Output shapes of ``ai.onnx.ml``, most of which onnx leaves blank: ``(N, F)`` features, one row may be ``(F,)``.

Source: ONNX, Operators-ml.md; tests run onnxruntime's kernels and compare.
"""

from __future__ import annotations

from functools import partial

from engine.graph import Shape
from engine.onnx.shape_rules import Given, UnknownInputError, shape_rule
from engine.onnx.values import Value

ML = "ai.onnx.ml"
_of = partial(shape_rule, domain=ML)


def rows(given: Given) -> int:
    """How many rows of features the first input has."""
    shape = given.shape()
    return shape[0] if len(shape) > 1 else 1


@_of("Imputer", "Binarizer")
def _same(given: Given) -> list[Value]:
    return [given.values[0]]


@_of("Scaler", "Normalizer")
def _real(given: Given) -> list[Value]:
    return [Value(given.shape(), "float32")]


@_of("LinearRegressor", "TreeEnsembleRegressor", "SVMRegressor")
def _regressed(given: Given) -> list[Value]:
    field = "n_targets" if given.node.op_type == "TreeEnsembleRegressor" else "targets"
    return [Value((rows(given), given.whole(field, 1)), "float32")]


@_of("LinearClassifier", "TreeEnsembleClassifier", "SVMClassifier")
def _classified(given: Given) -> list[Value]:
    """(label, score of each class); without probabilities, support vectors score pairs of classes: left unknown."""
    labels, dtype = _labels(given)
    label = Value((rows(given),), dtype)
    pairs = given.node.op_type == "SVMClassifier" and not given.node.attributes.get("prob_a")
    return [label] if pairs else [label, Value((rows(given), labels), "float32")]


@_of("FeatureVectorizer")
def _vectors(given: Given) -> list[Value]:
    widths = given.wholes("inputdimensions")
    return [Value((rows(given), sum(widths)), "float32")]


@_of("OneHotEncoder")
def _one_hot(given: Given) -> list[Value]:
    categories = given.node.attributes.get("cats_int64s") or given.node.attributes.get("cats_strings") or ()
    return [Value((*given.shape(), len(categories)), "float32")]


@_of("LabelEncoder", "CategoryMapper")
def _looked_up(given: Given) -> list[Value]:
    return [Value(given.shape(), _values_dtype(given))]


@_of("ArrayFeatureExtractor")
def _extracted(given: Given) -> list[Value]:
    shape: Shape = given.shape()
    picked = given.shape(1)[-1] if given.shape(1) else 1
    return [Value((*(shape[:-1] or (1,)), picked), given.dtype())]


def _labels(given: Given) -> tuple[int, str]:
    """(how many classes, dtype of their labels)."""
    attributes = given.node.attributes
    for field, value in attributes.items():
        if field.startswith("classlabels") and isinstance(value, tuple):
            return len(value), "int64" if field.endswith(("ints", "int64s")) else "string"
    raise UnknownInputError


def _values_dtype(given: Given) -> str:
    """By the attribute that holds the values; ``CategoryMapper`` turns strings into numbers and back."""
    if given.node.op_type == "CategoryMapper":
        return "int64" if given.dtype() == "string" else "string"
    dtypes = {"values_int64s": "int64", "values_floats": "float32", "values_strings": "string"}
    return next((dtype for field, dtype in dtypes.items() if field in given.node.attributes), "")
