"""Benchmarks: `python -m benchmarks` runs them all and writes results/bench.json."""
