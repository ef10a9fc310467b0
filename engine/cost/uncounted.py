"""Operations that are known and not counted.

Their work depends on the data, or on the algorithm that a library picks.
FLOPs are None, never 0. MACs are 0 where no multiply–accumulate is involved, else None too.
"""

from __future__ import annotations

from engine.cost.registry import Work, cost_formula, not_counted
from engine.graph import OpCall


def _uncounted(*ops: str, reason: str, macs: int | None = 0) -> None:
    """Register ``ops`` as not counted; ``reason`` continues the sentence "OP …"."""

    def formula(call: OpCall) -> Work:
        return not_counted(f"{call.op} {reason}", macs)

    formula.__doc__ = f"Not counted: {reason}."
    cost_formula(*ops, family="other")(formula)


_uncounted(
    "sort", "argsort", "msort", "topk", "kthvalue", "median", "nanmedian", "mode", "quantile",
    "nanquantile", "unique", "_unique", "_unique2", "unique_dim", "unique_consecutive",
    "unique_dim_consecutive", "isin", "searchsorted", "bucketize", "histc", "histogram", "histogramdd",
    "bincount", "nms",
    reason="compares as often as the data demands",
)  # fmt: skip
_uncounted(
    "nonzero", "nonzero_numpy", "nonzero_static", "argwhere", "masked_select",
    reason="finds elements: its output size depends on the data",
)  # fmt: skip
_uncounted(
    "cumsum", "cumprod", "cummax", "cummin", "_cummax_helper", "_cummin_helper", "logcumsumexp",
    "_logcumsumexp", "cumulative_trapezoid", "segment_reduce",
    reason="is a scan: how much it computes depends on how it is divided",
)  # fmt: skip
_uncounted(
    "rand", "rand_like", "randn", "randn_like", "randint", "randint_like", "randperm", "random", "normal",
    "uniform", "bernoulli", "multinomial", "exponential", "geometric", "cauchy", "log_normal", "poisson",
    "binomial", "_standard_gamma", "_sample_dirichlet", "normal_functional",
    reason="draws random numbers",
)  # fmt: skip
_uncounted(
    "fft_fft", "fft_ifft", "fft_rfft", "fft_irfft", "fft_hfft", "fft_ihfft", "fft_fft2", "fft_ifft2",
    "fft_rfft2", "fft_irfft2", "fft_hfft2", "fft_ihfft2", "fft_fftn", "fft_ifftn", "fft_rfftn",
    "fft_irfftn", "fft_hfftn", "fft_ihfftn", "_fft_c2c", "_fft_r2c", "_fft_c2r", "stft", "istft",
    reason="is a Fourier transform: its operations depend on the factors of the length",
)  # fmt: skip
_uncounted(
    "inverse", "linalg_inv", "linalg_inv_ex", "linalg_pinv", "pinverse", "det", "linalg_det", "_linalg_det",
    "slogdet", "linalg_slogdet", "_linalg_slogdet", "logdet", "linalg_solve", "linalg_solve_ex",
    "_linalg_solve_ex", "linalg_solve_triangular", "triangular_solve", "linalg_lstsq", "cholesky_solve",
    "cholesky_inverse", "linalg_cholesky", "linalg_cholesky_ex", "linalg_qr", "geqrf", "orgqr", "ormqr",
    "linalg_householder_product", "linalg_lu", "linalg_lu_factor", "linalg_lu_factor_ex", "linalg_lu_solve",
    "lu_solve", "svd", "linalg_svd", "_linalg_svd", "linalg_svdvals", "linalg_eig", "linalg_eigh",
    "_linalg_eigh", "linalg_eigvals", "linalg_eigvalsh", "linalg_matrix_rank", "linalg_cond",
    "nuclear_norm", "linalg_ldl_factor", "linalg_ldl_factor_ex", "linalg_ldl_solve", "matrix_exp",
    "linalg_matrix_exp", "matrix_power", "linalg_matrix_power",
    reason="is a matrix decomposition or solution: its operations depend on the algorithm",
    macs=None,
)  # fmt: skip
