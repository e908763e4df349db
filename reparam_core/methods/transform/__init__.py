"""Rewrites that keep the function: the same answers from other numbers, before anything is compressed."""
