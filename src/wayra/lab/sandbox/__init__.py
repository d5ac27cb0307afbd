"""Runs Python that nobody has read, where it can harm nobody: no network, no files but its own, bounded in everything.

On Linux only, by what the kernel offers to every process; where that is not allowed it refuses and says what to do.
"""

from wayra.lab.sandbox.run import require_sandbox, run_python, sandbox_available
from wayra.lab.sandbox.verdict import Availability, Limits, Verdict

__all__ = ["Availability", "Limits", "Verdict", "require_sandbox", "run_python", "sandbox_available"]
