"""A comparison as one HTML page, complete in itself: style and plots inside, no script, nothing fetched."""

from wayra.lab.compare.page.document import page

__all__ = ["page"]
