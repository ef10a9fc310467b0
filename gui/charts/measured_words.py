"""Words of the charts about what is measured, and about why it is not (yet)."""

from __future__ import annotations

from engine import numbers
from engine.measurement import STOPPED, Measurement
from engine.results import Analysis
from gui.measuring import Measuring
from gui.models.latency_words import threads_text, time_text
from gui.workspace import Workspace

PAUSED = "Measuring is paused. Switch Measure on to see what the model costs on this machine."
PHASES = {
    "cancelled": "Measuring was cancelled. Change something or choose Measure again.",
    "waiting": "It is measured as soon as nothing moves.",
    "starting": "The latency engine starts: it loads the model with its weights.",
    "live": "Timing the forward pass. The layers follow.",
    "settled": "Timing the forward pass. The layers follow.",
    "report": "Timing the forward pass for ten seconds. The layers follow.",
    "layers": "Timing the layers.",
    "comparing": "Timing against the baseline.",
    "ops": "Timing every operation.",
    "quiet": "Waiting for a quiet machine.",
    "sweep": "Measuring the slider's range. The layers follow.",
}
"""What is going on where nothing is known yet, by ``Measuring.phase``."""


def unmeasured(workspace: Workspace, measuring: Measuring) -> str:
    """Why there is no measurement of the configuration asked for, and what to do; a sentence or two."""
    if workspace.model is None:
        return "Open a model to measure it: a file, or one of the zoo."
    if not workspace.editable:
        return "This report holds no times. Open its model to measure it here."
    if not measuring.enabled:
        return PAUSED
    if measuring.error is not None:
        return measuring.error.sentence
    if workspace.failure is not None:
        return "What cannot be computed is not measured."
    return PHASES.get(measuring.phase, "Times appear here a moment after the numbers stand still.")


def around_the_layers(analysis: Analysis) -> list[str]:
    """What speaks against the rows' times, and what they do not hold: ``+ 0.8 ms between layers``.

    Empty without times.
    """
    times = analysis.layer_times
    if times is None:
        return []
    hooks = numbers.duration(times.hook_s * times.hook_calls)
    inserted = f"+{numbers.THIN}{numbers.duration(times.inserted_s)} inserted by the runtime"
    return [
        *(flag.words for flag in times.flags),
        *([inserted] if times.inserted else []),
        f"+{numbers.THIN}{numbers.duration(times.unattributed_s)} between layers",
        *([] if times.groups else [f"{hooks} hook cost subtracted"]),
    ]


def samples_text(count: int) -> str:
    return f"{count} sample{'s' if count != 1 else ''}"


def facts(measurement: Measurement) -> list[str]:
    """A measurement for a caption, the most telling first: median, samples, first pass, outliers, why it stopped."""
    count = samples_text(measurement.n)
    if measurement.forwards_per_sample > 1:
        count += f" of {measurement.forwards_per_sample} forward passes"
    if measurement.interval is None:
        count += ", too few for an interval"
    found = [time_text(measurement.median_s, measurement.interval), count]
    found += [flag.words for flag in measurement.flags if flag.key != "cold"]
    if measurement.first_s:
        found.append(f"first forward {numbers.duration(measurement.first_s)}")
    found.append(threads_text(measurement.threads))
    outliers = sum(measurement.outliers)
    if outliers:
        found.append(f"{outliers} outlier{'s' if outliers > 1 else ''}, kept")
    found.append(f"ended: {STOPPED[measurement.stop_reason]}")
    return found
