"""Classic machine learning in ONNX: linear models and support vectors are counted, shapes as onnxruntime's."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest

from tests.engine.onnx_nodes import Case, check, real, whole

ROWS, FEATURES, VECTORS = 5, 3, 4
LONG = numpy.int64
SVM = {
    "kernel_params": [0.5, 0.0, 3.0],
    "support_vectors": [0.1] * VECTORS * FEATURES,
    "coefficients": [0.2] * VECTORS,
    "rho": [0.1],
}

CASES = [
    Case("Scaler", (real(ROWS, FEATURES),), 0, 2 * 15, {"offset": [0.0] * 3, "scale": [1.0] * 3}),
    Case("Normalizer", (real(ROWS, FEATURES),), 0, 3 * 15, {"norm": "L2"}),
    Case("Normalizer", (real(ROWS, FEATURES),), 0, 3 * 15 - 5, {"norm": "L1"}),
    Case("Normalizer", (real(ROWS, FEATURES),), 0, 2 * 15 - 5, {"norm": "MAX"}),
    Case("Binarizer", (real(ROWS, FEATURES),), 0, 15, {"threshold": 0.5}),
    Case(
        "Imputer",
        (real(ROWS, FEATURES),),
        0,
        2 * 15,
        {"imputed_value_floats": [0.0], "replaced_value_float": 1.0},
    ),
    Case(
        "LinearRegressor",
        (real(ROWS, FEATURES),),
        ROWS * 2 * FEATURES,
        2 * 30 + 10,
        {"coefficients": [0.5] * 6, "intercepts": [1.0, 2.0], "targets": 2},
    ),
    Case(
        "SVMRegressor",
        (real(ROWS, FEATURES),),
        ROWS * VECTORS * (FEATURES + 1),
        2 * 80 + ROWS * VECTORS * (FEATURES + 2),
        {"kernel_type": "RBF", "n_supports": VECTORS, **SVM},
    ),
    Case(
        "SVMRegressor",
        (real(ROWS, FEATURES),),
        ROWS * VECTORS * (FEATURES + 1),
        2 * 80 + 3 * 20,
        {"kernel_type": "POLY", "n_supports": VECTORS, **SVM},
    ),
    Case(
        "LinearClassifier",
        (real(ROWS, FEATURES),),
        ROWS * 3 * FEATURES,
        2 * 45 + 15 + 5 * 15,
        {
            "coefficients": [0.5] * 9,
            "intercepts": [1.0] * 3,
            "classlabels_ints": [0, 1, 2],
            "post_transform": "SOFTMAX",
        },
        outputs=2,
    ),
    Case(
        "LabelEncoder",
        (whole(1, 2, dtype=LONG),),
        0,
        0,
        {"keys_int64s": [1, 2], "values_int64s": [3, 4]},
    ),
    Case("ArrayFeatureExtractor", (real(ROWS, FEATURES), whole(0, 2, dtype=LONG)), 0, 0),
    Case("FeatureVectorizer", (real(ROWS, 2), real(ROWS, 1)), 0, 0, {"inputdimensions": [2, 1]}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.op)
def test_operators_of_classic_models(case: Case, tmp_path: Path) -> None:
    check(case._replace(domain="ai.onnx.ml", opset=17), tmp_path)
