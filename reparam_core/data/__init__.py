"""Texts, token sequences and labelled tables."""

from reparam_core.data.calibration import calibration, identity, refuse_overlap, refuse_rows
from reparam_core.data.labelled import LEAST_ROWS, MOST_CHOICES, TABLES, Row, Table, is_labelled, table
from reparam_core.data.own import keep_own, own_sources, own_title
from reparam_core.data.sequences import IGNORED, Sequences, fitting, most_tokens, sequences
from reparam_core.data.texts import ENTRIES, Text, fingerprint, text

__all__ = [
    "ENTRIES", "IGNORED", "LEAST_ROWS", "MOST_CHOICES", "TABLES", "Row", "Sequences", "Table", "Text", "calibration",
    "fingerprint", "fitting", "identity", "is_labelled", "keep_own", "most_tokens", "own_sources", "own_title", "refuse_overlap", "refuse_rows", "sequences", "table", "text",
]  # fmt: skip
