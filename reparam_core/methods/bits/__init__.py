"""Methods of the bits axis."""
