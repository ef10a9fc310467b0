"""Shared by all tests: what is sampled, how unexpected log records fail a test, and where the data lies."""

from __future__ import annotations

import csv
import datetime
import logging
import os
import random
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")
DATA = Path(__file__).parent / "data"
EVERYTHING = bool(os.environ.get("MISNOMER_ALL"))
# Processes that share one run draw the same samples, also around midnight.
DAY = os.environ.setdefault("MISNOMER_DAY", datetime.datetime.now(datetime.UTC).date().isoformat())


def read_data(name: str) -> list[dict[str, str]]:
    """Rows of a CSV in tests/data."""
    with (DATA / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def sampled(items: Sequence[T], count: int, salt: str) -> list[T]:
    """All items in ``make test-all``, else ``count`` of them drawn by the day: most of them in a few weeks."""
    if EVERYTHING or count >= len(items):
        return list(items)
    chosen = random.Random(f"{DAY} {salt}").sample(range(len(items)), count)
    return [items[index] for index in sorted(chosen)]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Interrupts reach this process and its children, also where the tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _no_unexpected_log_records(
    caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> Iterator[None]:
    """A warning or error that our code logs fails the test, unless it is marked with ``expects_log``."""
    yield
    if request.node.get_closest_marker("expects_log"):
        return
    records = [
        record
        for when in ("setup", "call")
        for record in caplog.get_records(when)
        if record.levelno >= logging.WARNING and record.name.partition(".")[0] in ("engine", "gui")
    ]
    assert not records, f"unexpected log: {[record.getMessage() for record in records]}"
