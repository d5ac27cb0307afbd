"""What a model is: its spec, its forward over the operation table, its recorded Program. Knows no weights, no text."""
