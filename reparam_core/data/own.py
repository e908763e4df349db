"""The user's own texts and tables, kept by content beside the store so that a link to them works again."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from reparam_core.data.labelled import parsed
from reparam_core.data.texts import decoded
from reparam_core.errors import ReparamError
from reparam_core.store import store

MOST_BYTES = 20 * 2**20
SHOWN = 12
WORDS, LONGEST_NAME = 5, 32  # of a name; in bytes


def folder() -> Path:
    """Where they lie."""
    return store().directory / "own"


def keep_own(content: bytes, suffix: str, name: str = "", suits: Callable[[Path], object] | None = None) -> Path:
    """Keep a text (`.txt`) or a table (`.csv`) under its name or its first words; the same content is the same file.

    Raises ReparamError for what is empty, too long, no text, no table, and where `suits`, asked before it is kept, raises
    one.
    """
    if len(content) > MOST_BYTES:
        raise ReparamError(f"That is {len(content) / 2**20:.0f} MB.", f"Give at most {MOST_BYTES // 2**20} MB.")
    text = decoded(content, "That")
    if not text.strip():
        raise ReparamError("That text is empty.", "Give at least a few sentences.")
    if suffix == ".csv":
        parsed(text, "The table")
    start = f"own-{hashlib.sha256(content).hexdigest()[:8]}"
    path = next(folder().glob(f"{start}*{suffix}"), folder() / f"{start}-{_file_name(name or text)}{suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as aside:  # each session its own: both may keep the same
            written = Path(aside, path.name)
            written.write_bytes(text.encode())
            if suits:
                suits(written)
            os.replace(written, path)
    except OSError as error:
        raise ReparamError(f"It could not be kept: {error.strerror}.", "Make room on the disk.") from None
    return path


def _file_name(words: str) -> str:
    """The first words, as far as every disk takes them."""
    first = "-".join(re.findall(r"\w+", words[: LONGEST_NAME * 8])[:WORDS])
    return first.encode()[:LONGEST_NAME].decode(errors="ignore").strip("-") or "text"


def own_title(source: str) -> str | None:
    """What one of them is called, from its path or its file's name; None for any other source."""
    found = re.fullmatch(r"own-[0-9a-f]{8}-(.+)\.(?:txt|csv)", Path(source).name)
    return found[1].replace("-", " ") if found else None


def own_sources(suffix: str) -> list[str]:
    """The paths of those kept last, newest first."""
    if not folder().is_dir():
        return []
    found = sorted(folder().glob(f"own-*{suffix}"), key=lambda one: one.stat().st_mtime, reverse=True)
    return [str(one) for one in found[:SHOWN]]
