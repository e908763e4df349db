"""What has been measured or prepared once is never done again: content-addressed results and factors."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

from platformdirs import user_cache_dir
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

SCHEMA = "CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, model TEXT, recipe TEXT, value TEXT, seen REAL)"
Tensors = dict[str, Tensor]


def key(**parts: Any) -> str:
    """SHA-256 of the parts' canonical JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


class Store:
    """Results in SQLite, prepared factors in memory-mapped files; where the disk refuses, both stay in memory.

    `warning` then says so in one line. Files are written aside and renamed, so nothing half-written is ever read.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.warning: str | None = None
        self._memory: dict[str, tuple[str, str, str, float]] = {}
        self._lock = threading.Lock()
        try:
            (directory / "prepared").mkdir(parents=True, exist_ok=True)
            self._open()
        except (OSError, sqlite3.Error) as error:
            self._degrade(error)

    def get(self, name: str) -> dict[str, Any] | None:
        """The result of that key, or None."""
        if name in self._memory:
            return _value(self._memory[name][2])
        rows = self._query("SELECT value FROM results WHERE key = ?", name)
        return _value(rows[0][0]) if rows else None

    def put(self, name: str, value: dict[str, Any], *, model: str, recipe: str) -> None:
        """Keep a result."""
        row = (model, recipe, json.dumps(value), time.time())
        try:
            with closing(self._connect()) as connection, connection:
                connection.execute("INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?)", (name, *row))
        except (OSError, sqlite3.Error) as error:
            self._degrade(error)
            with self._lock:
                self._memory[name] = row

    def all(self, model: str) -> list[tuple[str, dict[str, Any], float]]:
        """Every result of a model: key, value and when it was measured, oldest first."""
        rows = self._query("SELECT key, value, seen FROM results WHERE model = ? ORDER BY seen", model)
        kept = [(name, row[2], row[3]) for name, row in self._memory.items() if row[0] == model]
        return [(name, _value(value), when) for name, value, when in [*rows, *kept]]

    def prepared(self, name: str, make: Callable[[], Tensors]) -> Tensors:
        """The tensors of that key, memory-mapped; made and kept when they are not there or not whole."""
        path = self.directory / "prepared" / f"{name}.safetensors"
        try:
            if path.exists():
                return load_file(path)
        except (OSError, SafetensorError):
            self._remove(path)
        made = make()
        return load_file(path) if self._save(path, made) else made

    def _save(self, path: Path, tensors: Tensors) -> bool:
        """Written aside, flushed to the disk, then renamed: whoever reads sees all of it or nothing."""
        temporary: str | None = None
        try:
            handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
            os.close(handle)
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)
            os.replace(temporary, path)
            return True
        except (OSError, SafetensorError) as error:
            self._degrade(error)
            if temporary:
                self._remove(Path(temporary))
            return False

    def _open(self) -> None:
        try:
            with closing(self._connect()) as connection, connection:
                connection.execute(SCHEMA)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self._database.rename(self._database.with_suffix(f".damaged-{int(time.time())}"))
            with closing(self._connect()) as connection, connection:
                connection.execute(SCHEMA)

    @property
    def _database(self) -> Path:
        return self.directory / "results.sqlite"

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._database, timeout=30)
        connection.execute("PRAGMA journal_mode=WAL")
        return connection

    def _query(self, statement: str, *values: str) -> list[Any]:
        try:
            with closing(self._connect()) as connection:
                return connection.execute(statement, values).fetchall()
        except (OSError, sqlite3.Error) as error:
            self._degrade(error)
            return []

    def _degrade(self, error: Exception) -> None:
        self.warning = f"Results cannot be kept in {self.directory} ({error}); they last until this program ends."

    @staticmethod
    def _remove(path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError:
            return


def _value(text: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(text)
    return value


@cache
def store() -> Store:
    """This process's store: the folder that REPARAM_CACHE names, else the user's cache."""
    return Store(Path(os.environ.get("REPARAM_CACHE") or user_cache_dir("reparam-explorer")))
