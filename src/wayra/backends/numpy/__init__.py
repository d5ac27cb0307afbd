"""The executable specification: every operation in NumPy, slow and readable."""
