"""The executable specification: every operation in a few lines of NumPy. Written to be read, not to be fast."""

from wayra.backends.numpy.backend import NumpyBackend

__all__ = ["NumpyBackend"]
