"""Every model that can be opened by its name: torchvision's, and timm's where it is installed."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from importlib import metadata

from engine.errors import LoadError
from engine.loaders import timm_zoo, torchvision_zoo
from engine.matching import zoo_index
from engine.matching.zoo_index import Architecture
from engine.results import ZooEntry

log = logging.getLogger(__name__)

TIMM = "timm:"


def entries() -> tuple[ZooEntry, ...]:
    """Builds nothing. timm is imported only when it is of another version than the index that ships with us: the
    import takes seconds. Raises LoadError without a working torchvision."""
    return (*torchvision_zoo.entries(), *_timm_entries())


def _timm_entries() -> Iterable[ZooEntry]:
    if not timm_zoo.installed():
        return ()
    facts = zoo_index.facts()
    known = {each.source: each for each in facts.architectures if each.source.startswith(TIMM)}
    if dict(facts.versions).get("timm") == metadata.version("timm"):
        return [_entry(each) for source, each in known.items() if "(" not in source]
    try:
        listed = timm_zoo.entries()
    except LoadError as error:
        log.info("The zoo is shown without timm: %s", error.message)
        return ()
    return [_entry(known[each.source]) if each.source in known else each for each in listed]


def _entry(known: Architecture) -> ZooEntry:
    return ZooEntry(
        source=known.source,
        name=known.source.removeprefix(TIMM),
        task=known.task,
        params=known.params,
        input=known.input,
    )
