"""The planner's web page and what stands behind it, in `wayra serve` and by itself."""
