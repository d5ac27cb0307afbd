"""Model files: parsers, block formats, names of weights, sources to fetch them from, and the packed cache."""
