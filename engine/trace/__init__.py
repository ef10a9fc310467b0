"""Runs a forward pass without weights and records every executed operation with the module it belongs to."""
