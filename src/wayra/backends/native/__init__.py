"""The native CPU backend: lowers a Program to the C++ executor."""
