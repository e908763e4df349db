"""Methods of the rank axis."""
