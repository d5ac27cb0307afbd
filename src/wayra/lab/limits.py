"""What this machine allows at most: given by the user, or measured."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MachineLimits:
    """read_gb_s: reading memory with all threads; int8_gop_s: integer operations, a multiply-add is two. None: unknown.

    how: where they come from, for the reader of a report.
    """

    read_gb_s: float | None = None
    int8_gop_s: float | None = None
    how: str = ""

    def tokens_per_s(self, bytes_a_token: float, ops_a_token: float) -> float | None:
        """The strictest limit that is known for work of this size; None when none is."""
        found = []
        if self.read_gb_s is not None and bytes_a_token > 0:
            found.append(self.read_gb_s * 1e9 / bytes_a_token)
        if self.int8_gop_s is not None and ops_a_token > 0:
            found.append(self.int8_gop_s * 1e9 / ops_a_token)
        return min(found) if found else None
