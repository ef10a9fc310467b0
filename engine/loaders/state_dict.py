"""State dicts and checkpoints: weights that say nothing of the model they belong to.

``weights.pt@torchvision:resnet50`` opens them with an architecture, ``checkpoint.pt#ema@net.py:build`` one of several.
"""

from __future__ import annotations

from engine.contents import Contents
from engine.loaders import load
from engine.loaders.chosen_weights import chosen_weights, which_weights
from engine.loaders.loaded import LoadedModel
from engine.loaders.options import LoadOptions
from engine.loaders.weighted import with_weights
from engine.sources import FileSource


def open_file(contents: Contents, file: FileSource, options: LoadOptions) -> LoadedModel:
    """The weights of ``contents`` in the architecture that ``file`` names; its code is consented to as without them.

    Raises UnsupportedModelError for a file that holds no model's weights, ArchitectureRequiredError with candidates
    where none is named, LoadError where the two do not belong together.
    """
    group = chosen_weights(contents, file)
    model = load(file.architecture, options)
    return with_weights(model, contents, group, str(file), which_weights(contents, group))
