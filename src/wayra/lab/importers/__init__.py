"""Results of other load generators as runs of ours, so that figures are computed by one set of definitions."""

from wayra.lab.importers.read import import_file

__all__ = ["import_file"]
