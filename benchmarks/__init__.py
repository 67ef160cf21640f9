"""Measurements of speed, and of what scores depend on: `python -m benchmarks.NAME`."""
