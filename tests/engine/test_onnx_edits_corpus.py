"""Edits of the ONNX project's own models are done or refused in a sentence, and what is set to what it is stays."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.configuration import Configuration
from engine.edits import Edit, RemoveLayer, SetAttribute
from engine.errors import EngineError
from engine.onnx.loading import load
from engine.onnx.session import OnnxSession
from engine.open_model import FailedAnalysisError
from engine.results import Analysis
from tests.conftest import DAY, sampled
from tests.engine.onnx_corpus import cases_of, files, node_modules

LAYERS, MANY = 6, 100
"""Of one model that are edited; of one with so many layers one."""
ODD = (0, 2, (1, 2), "linear", 0.5)


def sessions(folder: Path) -> Iterator[OnnxSession]:
    """A few of the files that the package ships, and of the operators' cases; all with MISNOMER_ALL=1."""
    paths = sampled(files(), 5, "edited files")
    for module in sampled(node_modules(), 5, "edited operators"):
        paths += [case.write(folder) for case in sampled(cases_of(module), 2, module)]
    for path in paths:
        try:
            yield OnnxSession(load(path))
        except EngineError:
            continue  # why, its own tests ask


def analysed(session: OnnxSession, *edits: Edit) -> Analysis | None:
    """The result; None for edits that are refused, which has to be a sentence."""
    try:
        return session.analyze(Configuration(session.default_configuration().inputs, edits))
    except FailedAnalysisError as failed:
        error = failed.error
    except EngineError as refused:
        error = refused
    assert error.message.endswith((".", "?", ":", "!")) or error.hint, error.message
    assert "\n" not in error.message
    return None


@pytest.mark.filterwarnings("ignore")
def test_every_edit_of_every_model_is_done_or_refused(tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    for session in sessions(tmp_path):
        whole = analysed(session)
        if whole is None:
            continue
        rows = list(zip(whole.modules.path, whole.modules.attributes, whole.modules.editable, strict=True))
        count = 1 if len(rows) > MANY else min(LAYERS, len(rows))
        for path, attributes, fields in random.Random(DAY).sample(rows, count):
            removed = analysed(session, RemoveLayer(path))
            seen["removed" if removed is not None else "not removed"] += 1
            if removed is not None:
                assert removed.modules.removed[removed.modules.path.index(path)]
                assert set(removed.layers.path) <= set(removed.modules.path)
                compile("\n".join(removed.python_lines()), path, "exec")
            for field in fields:
                for value in ODD:
                    seen["set" if analysed(session, SetAttribute(path, field, value)) else "not set"] += 1
                own = attributes.get(field)
                if isinstance(own, (int, float, str, tuple)):
                    same = analysed(session, SetAttribute(path, field, own))
                    assert same is not None and same.totals == whole.totals, (session.info.name, path, field)
    assert all(seen[what] for what in ("removed", "not removed", "set", "not set")), seen
