"""What a model is: its spec, its forward over the operation table, and the recorded Program. Knows no weights, no text."""
