"""Scripts that make the embedded data and checkpoints."""
