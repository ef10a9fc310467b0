"""Qt models and the plain computations behind them: results → rows and columns."""
