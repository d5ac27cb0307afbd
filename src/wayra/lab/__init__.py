"""Measurements that can be trusted and repeated: speed, quality, and comparisons of any two models."""
