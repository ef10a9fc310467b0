"""Below the layer tree: the measured time that belongs to no layer, so that everything adds up."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

from engine import numbers
from engine.measurement import LayerTimes
from engine.results import Analysis
from gui.state_words import times_sentence
from gui.views.dimmer import Dimmer
from gui.views.elided_label import ElidedLabel

EXPLANATION_ONNX = (
    "The times of the layers come from passes of their own, in which onnxruntime times every kernel.\n"
    "Inserted: kernels that change a layout or a type and do no layer's work.\n"
    "Unattributed: time between the kernels.\n"
    "Profiling: what the timing itself takes; it is in no layer's time."
)
EXPLANATION = (
    "The times of the layers come from a pass of their own, in which every module call is timed.\n"
    "Unattributed: time in containers and in Python between the layers.\n"
    "Hook cost: what the timing itself takes; it is in no layer's time."
)


class LayerRest(ElidedLabel):
    """One line; hidden while no layer is measured."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("", parent)
        self.setObjectName("layer_rest")
        self.setAccessibleName("Time that belongs to no layer")
        self.setProperty("role", "secondary")
        self.setContentsMargins(12, 4, 12, 6)
        self._dimmer = Dimmer((self,))

    def show_rest(self, analysis: Analysis | None, *, outdated: bool = False) -> None:
        """Of ``analysis``'s layer times; faded while they are of another configuration, or ``outdated``."""
        times = analysis.layer_times if analysis is not None else None
        self.setVisible(times is not None)
        if times is None or analysis is None:
            return
        self.setText(_words(times))
        lines = [_words(times), *(f"{flag.words}: {flag.detail}" for flag in times.flags)]
        lines.append(EXPLANATION_ONNX if times.groups else EXPLANATION)
        if analysis.stale_times:
            lines.insert(0, times_sentence(times, analysis.configuration))
        self.setToolTip("\n".join(lines))
        self._dimmer.set_dimmed(outdated or analysis.stale_times)


def _words(times: LayerTimes) -> str:
    hooks = times.hook_s * times.hook_calls
    parts = [
        f"All layers {numbers.duration(times.rows_s)}",
        *([f"Inserted {numbers.duration(times.inserted_s)}"] if times.inserted else []),
        f"Unattributed {numbers.duration(times.unattributed_s)}",
        *(
            []
            if times.origin
            else [f"{'Profiling' if times.groups else 'Hook cost'} {numbers.duration(hooks)}"]
        ),
        f"{'Profiled run' if times.origin else 'Plain pass'} {numbers.duration(times.end_to_end_s)}",
        *(["doubtful"] if times.flags else []),
    ]
    return " · ".join(parts)
