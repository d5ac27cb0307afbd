"""Suites: named sets of questions, read from packages, files or the hub as data, never run.

found = load_suite(find_suite("gsm8k"), settings)     # or load_suite(suite, settings, Path("gsm8k/"))
for item in found.items: ...
"""

from wayra.lab.suites.api import Suite, SuiteItems
from wayra.lab.suites.load import load_suite
from wayra.lab.suites.registry import SUITES, find_suite

__all__ = ["SUITES", "Suite", "SuiteItems", "find_suite", "load_suite"]
