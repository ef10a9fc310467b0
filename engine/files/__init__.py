"""Model files, read without running, importing or unpacking anything of them.

``read(path)`` gives :class:`Contents`; ``describe(contents)`` says it in a sentence. Needs neither torch nor numpy.
"""

from engine.files.contents import Contents
from engine.files.reader import read
from engine.files.wording import describe

__all__ = ["Contents", "describe", "read"]
