"""What the panels show of the measured half, read from the workspace and the measuring."""

from __future__ import annotations

from engine.measured_summary import paired
from engine.measurement import Latency, Measurement
from engine.tree_values import is_same
from gui.measuring import Measuring
from gui.models.latency_words import CANCELLED, Situation
from gui.models.model_words import weights_of
from gui.workspace import Workspace


def situation(workspace: Workspace, measuring: Measuring) -> Situation:
    """Everything known now; an opened report has its own measurements and gets no others."""
    analysis = workspace.analysis
    if analysis is not None and not workspace.editable:
        latency, baseline = analysis.latency, workspace.baseline
        comparison = paired(analysis, baseline) if baseline is not None else None
        return Situation(
            latency,
            analysis.configuration,
            latency is not None,
            _baseline(workspace),
            comparison,
            weights=weights_of(analysis.model),
        )
    return Situation(
        _latency(measuring),
        workspace.configuration,
        measuring.is_current,
        _baseline(workspace) if measuring.is_current else None,
        measuring.comparison if measuring.is_current else None,
        paused=not measuring.enabled,
        error=measuring.error,
        doing=measuring.words or CANCELLED * (measuring.phase == "cancelled"),
        since=measuring.since,
        weights=weights_of(workspace.model) if workspace.model is not None else "",
    )


def _latency(measuring: Measuring) -> Latency | None:
    """The shown measurement with everything else that is known of its configuration."""
    shown = measuring.shown
    if shown is None:
        return None
    known = measuring.latencies.get(shown.configuration)
    return known if known is not None and known.measurement is shown else Latency(shown)


def _baseline(workspace: Workspace) -> Measurement | None:
    """The baseline's own measurement, where there is something to compare and both have been measured."""
    analysis, baseline = workspace.analysis, workspace.baseline
    if analysis is None or baseline is None or is_same(analysis, baseline) or baseline.latency is None:
        return None
    return baseline.latency.measurement
