"""Reproducible measurements: each prints a row and is written as JSON; `python -m benchmarks --write`."""
