"""What the benchmarks share: workers, machine facts, limits, statistics. The workers' side needs only NumPy."""
