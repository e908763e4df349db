"""Texts and token sequences."""

from reparam_core.data.sequences import Sequences, sequences
from reparam_core.data.texts import ENTRIES, Text, text

__all__ = ["ENTRIES", "Sequences", "Text", "sequences", "text"]
