"""Texts, token sequences and labelled tables."""

from reparam_core.data.calibration import calibration, identity, own_count, refuse_overlap, refuse_rows, with_sentences
from reparam_core.data.labelled import LEAST_ROWS, MOST_CHOICES, TABLES, Row, Table, is_labelled, table
from reparam_core.data.own import keep_own, own_sources, own_title
from reparam_core.data.sequences import IGNORED, Sequences, fitting, most_tokens, sequences
from reparam_core.data.texts import ENTRIES, SENTENCES, Text, fingerprint, text

__all__ = [
    "ENTRIES", "IGNORED", "LEAST_ROWS", "MOST_CHOICES", "SENTENCES", "TABLES", "Row", "Sequences", "Table", "Text", "calibration",
    "fingerprint", "fitting", "identity", "is_labelled", "keep_own", "most_tokens", "own_count", "own_sources", "own_title", "refuse_overlap", "refuse_rows", "sequences", "table", "text", "with_sentences",
]  # fmt: skip
