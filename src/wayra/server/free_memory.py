"""Gives memory that nothing uses any more back to the system, when a model has gone."""

import ctypes


def give_back_memory() -> None:
    """glibc keeps pages that lie between others, as those of a tokenizer do, until it is asked; elsewhere nothing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
