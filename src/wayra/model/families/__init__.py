"""One file per model family: its weight slots and its forward."""
