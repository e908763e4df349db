"""Embedded checkpoints, the data they were trained on, and the scripts that make both."""
