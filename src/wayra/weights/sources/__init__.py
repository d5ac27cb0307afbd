"""Where models come from: a name in, files on this disk out.

Knows nothing of what is in the files; the parsers of `wayra.weights` judge that.
"""

from wayra.weights.sources.progress import Progress, Silent
from wayra.weights.sources.resolve import LocalModel, pull, resolve

__all__ = ["LocalModel", "Progress", "Silent", "pull", "resolve"]
