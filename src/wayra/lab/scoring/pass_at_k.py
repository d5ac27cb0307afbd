"""pass@k: the chance that one of k answers is right, estimated without bias from n. Source: Chen et al. 2021."""

from wayra.base.errors import InvalidParameter

REPORTED = (2, 5, 10, 25, 50, 100)


def pass_at_k(num_samples: int, num_right: int, k: int) -> float:
    """1 - C(n - c, k) / C(n, k) as a product. Raises InvalidParameter unless 0 <= c <= n and 1 <= k <= n."""
    if not (0 <= num_right <= num_samples and 1 <= k <= num_samples):
        raise InvalidParameter(f"pass@{k} of {num_right} right in {num_samples}; expected c <= n and 1 <= k <= n")
    if num_samples - num_right < k:
        return 1.0
    missed = 1.0
    for place in range(num_samples - num_right + 1, num_samples + 1):
        missed *= 1 - k / place
    return 1 - missed


def reported_ks(num_samples: int) -> list[int]:
    """Which k a run of so many samples reports, besides 1."""
    return sorted({k for k in (*REPORTED, num_samples) if 1 < k <= num_samples})
