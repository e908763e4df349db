"""Quality, size, latency and spectra: read-only."""

from reparam_core.measure.measurement import Measurement, measure, measured

__all__ = ["Measurement", "measure", "measured"]
