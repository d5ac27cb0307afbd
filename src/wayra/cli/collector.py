"""Keeps the garbage collector out of the way while modules and a model come in.

What they make lives as long as this process, and looking through it again and again took a twelfth of the time to a
first token. Only for a process of our own: what `freeze` takes is never looked at again, and a host program's objects
are not ours.
"""

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def kept_for_good() -> Generator[None, None, None]:
    """No collection inside; what is there at the end is left out of later ones. A collector that is off stays off."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        # Enabling alone would begin with a collection of everything that came in.
        gc.freeze()
        if was_on:
            gc.enable()
