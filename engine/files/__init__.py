"""Model files, read without running, importing or unpacking anything of them.

``read(path)`` gives :class:`Contents`; ``describe(contents)`` says it in a sentence. Needs neither torch nor numpy.
"""

from engine.contents import Contents
from engine.contents_words import describe
from engine.files.reader import read

__all__ = ["Contents", "describe", "read"]
