"""Weights without a model → the architectures of torchvision and timm that they fit. Needs no framework."""

from engine.matching.candidates import candidates
from engine.matching.zoo_index import Architecture, Facts
from engine.matching.zoo_index import facts as zoo_facts

__all__ = ["Architecture", "Facts", "candidates", "zoo_facts"]
