"""What has been measured or prepared once is never done again: content-addressed results and factors."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from filelock import FileLock
from platformdirs import user_cache_dir
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

SCHEMA = "CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, model TEXT, recipe TEXT, value TEXT, seen REAL)"
ENGINE = 8  # raised whenever the same question gets another answer: what older code measured is then not found
PREPARED_BYTES = 8e9  # of factors on disk; those used longest ago go when a process starts with more
PATIENCE = 30.0  # seconds to wait for another process
ABANDONED = 3600.0  # seconds after which an unfinished file belongs to no one
OPEN = 2048  # files of factors that stay mapped
MEMORY = 2**30  # bytes of factors that stay in memory where the disk refuses them

Tensors = dict[str, Tensor]
Row = tuple[str, str, str, float]  # model, recipe, value as JSON, when
T = TypeVar("T")


def key(**parts: Any) -> str:
    """SHA-256 of the parts' canonical JSON and of the version of what computes them."""
    text = json.dumps(
        parts | {"engine": ENGINE}, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str
    )
    return hashlib.sha256(text.encode()).hexdigest()


class Store:
    """Results in SQLite, prepared factors in memory-mapped files; where the disk refuses, both stay in memory.

    `warning` then says so in one line. Files are written aside and renamed, so nothing half-written is ever read.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.warning: str | None = None
        self._rows: dict[str, Row] = {}
        self._factors: OrderedDict[str, Tensors] = OrderedDict()
        self._open: OrderedDict[str, Tensors] = OrderedDict()
        self._lock = threading.Lock()
        self._making: WeakValueDictionary[str, _Turn] = WeakValueDictionary()
        try:
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            self._degrade(error)

    # Results

    def get(self, name: str) -> dict[str, Any] | None:
        """The result of that key, or None."""
        kept = self._rows.get(name)
        if kept is not None:
            return _value(kept[2])
        rows = self._read("SELECT value FROM results WHERE key = ?", name)
        return _value(rows[0][0]) if rows else None

    def put(self, name: str, value: dict[str, Any], *, model: str, recipe: str) -> None:
        """Keep a result."""
        row = (model, recipe, json.dumps(value), time.time())
        try:
            self._attempt(lambda database: database.execute(
                "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?)", (name, *row)))  # fmt: skip
            self._rows.pop(name, None)
        except (OSError, sqlite3.Error) as error:
            self._degrade(error)
            self._rows[name] = row

    def all(self, model: str) -> list[tuple[str, dict[str, Any], float]]:
        """Every result of a model: key, value and when it was measured, oldest first."""
        rows = self._read("SELECT key, value, seen FROM results WHERE model = ?", model)
        found = {name: (text, when) for name, text, when in rows}
        found |= {name: (row[2], row[3]) for name, row in list(self._rows.items()) if row[0] == model}
        oldest_first = sorted(found.items(), key=lambda one: one[1][1])
        return [(name, value, when) for name, (text, when) in oldest_first if (value := _value(text)) is not None]

    # Prepared factors

    def prepared(self, name: str, make: Callable[[], Tensors]) -> Tensors:
        """The tensors of that key; made and kept when they are not there or not whole, once for all threads."""
        with self._lock:
            turn = self._making.setdefault(name, _Turn())
        with turn.lock:
            found = self.tensors(name)
            if found is not None:
                return found
            made = make()
            self.save_tensors(name, made)
            return self.tensors(name) or made

    def has_tensors(self, name: str) -> bool:
        """Are there any of that key? Whether they are whole is found out when they are read."""
        return name in self._factors or name in self._open or self._path(name).exists()

    def tensors(self, name: str) -> Tensors | None:
        """The tensors of that key, memory-mapped; None where there are none. What is damaged is deleted."""
        with self._lock:
            kept = self._factors.get(name) or self._open.get(name)
        if kept is not None:
            return dict(kept)
        path = self._path(name)
        try:
            return self._mapped(name, load_file(path)) if path.exists() else None
        except SafetensorError:
            _remove(path)
        except OSError as error:
            self._degrade(error)
        return None

    def _mapped(self, name: str, tensors: Tensors) -> Tensors:
        """Kept open: pages of the file, not of this process, and a slider need not open hundreds of files a step."""
        with self._lock:
            self._open[name] = tensors
            while len(self._open) > OPEN:
                self._open.popitem(last=False)
        return dict(tensors)

    def save_tensors(self, name: str, tensors: Tensors) -> None:
        """Written aside, flushed to the disk, then renamed: whoever reads sees all of it or nothing."""
        path, temporary = self._path(name), None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
            os.close(handle)
            save_file(_separate(tensors), temporary)
            _flush(temporary, os.O_RDWR)
            os.replace(temporary, path)
            _flush(path.parent, os.O_RDONLY)
        except (OSError, SafetensorError) as error:
            self._degrade(error)
            self._keep(name, tensors)
            if temporary:
                _remove(Path(temporary))

    def _path(self, name: str) -> Path:
        return self.directory / "prepared" / f"{name}.safetensors"

    def _keep(self, name: str, tensors: Tensors) -> None:
        """In memory, the oldest forgotten where it is too much."""
        with self._lock:
            self._factors[name] = tensors
            while len(self._factors) > 1 and sum(map(_bytes, self._factors.values())) > MEMORY:
                self._factors.popitem(last=False)

    # The database

    @property
    def _database(self) -> Path:
        return self.directory / "results.sqlite"

    def _prepare(self) -> None:
        """Folders, schema, order."""
        (self.directory / "prepared").mkdir(parents=True, exist_ok=True)
        self._tidy(self.directory / "prepared")
        with self._alone():
            try:
                self._define()
            except sqlite3.DatabaseError as error:
                if not _damaged(error):
                    raise
                self._set_aside()

    def _tidy(self, folder: Path) -> None:
        """No unfinished files of processes long gone, and no more factors than are worth their room."""
        for path in folder.glob("*.part"):
            if time.time() - path.stat().st_mtime > ABANDONED:
                _remove(path)
        kept = sorted(((one.stat(), one) for one in folder.glob("*.safetensors")), key=lambda one: one[0].st_atime)
        total = sum(found.st_size for found, _ in kept)
        for found, path in kept:
            if total <= PREPARED_BYTES:
                return
            _remove(path)
            total -= found.st_size

    def _define(self) -> None:
        with closing(self._connect()) as database, database:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute(SCHEMA)

    def _alone(self) -> FileLock:
        """No other process and no other thread opens or mends the database meanwhile."""
        return FileLock(self.directory / "results.lock", timeout=PATIENCE)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._database, timeout=PATIENCE)

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Work on the database; a damaged or vanished one is begun anew and tried once more."""
        try:
            with closing(self._connect()) as database, database:
                return work(database)
        except sqlite3.DatabaseError as error:
            if not (_damaged(error) or self._vanished(error)):
                raise
        self._mend()
        with closing(self._connect()) as database, database:
            return work(database)

    def _read(self, statement: str, *values: str) -> list[Any]:
        """Rows; also from a folder that may only be read, where SQLite cannot put its own files."""
        try:
            return self._attempt(lambda database: database.execute(statement, values).fetchall())
        except (OSError, sqlite3.Error) as error:
            self._degrade(error)
        if os.access(self.directory, os.W_OK) or not self._database.is_file():
            return []
        with suppress(OSError, sqlite3.Error):
            address = f"{self._database.resolve().as_uri()}?immutable=1"
            with closing(sqlite3.connect(address, uri=True)) as database:
                return database.execute(statement, values).fetchall()
        return []

    def _vanished(self, error: sqlite3.DatabaseError) -> bool:
        """Did someone empty the cache below this process?"""
        return not self._database.exists() or "no such table" in str(error)

    def _mend(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._alone():
            if not self._sound():  # another process may have been first
                self._set_aside()
            self._define()

    def _sound(self) -> bool:
        try:
            with closing(self._connect()) as database:
                found: tuple[str] = database.execute("PRAGMA quick_check").fetchone()
                return found[0] == "ok"
        except sqlite3.DatabaseError as error:
            if not _damaged(error):
                raise
            return False

    def _set_aside(self) -> None:
        """A damaged database and its journals get another name; a new one is begun."""
        aside = self.directory / f"results.damaged-{time.time_ns()}"
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                self._database.with_name(self._database.name + suffix).rename(aside.with_name(aside.name + suffix))
        self._define()
        self._warn(f"The stored results in {self.directory} were damaged: set aside as {aside.name} and begun anew.")

    def _degrade(self, error: Exception) -> None:
        self._warn(f"Results cannot be kept in {self.directory} ({error}); they last until this program ends.")

    def _warn(self, text: str) -> None:
        """One line, told once."""
        line = " ".join(text.split())
        if self.warning is None:
            logging.getLogger(__name__).warning(line)
        self.warning = line


class _Turn:
    """A lock that is forgotten when no one holds it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


def _value(text: str) -> dict[str, Any] | None:
    """What was kept; None where it no longer reads as JSON."""
    with suppress(ValueError):
        value: dict[str, Any] = json.loads(text)
        return value
    return None


def _damaged(error: Exception) -> bool:
    """SQLite says "malformed" or "not a database" with this class; "locked", "full" and "read-only" with its child."""
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error, sqlite3.OperationalError | sqlite3.IntegrityError | sqlite3.ProgrammingError
    )


def _separate(tensors: Tensors) -> Tensors:
    """Contiguous, in main memory, and no two sharing storage, as the file format asks."""
    seen: set[int] = set()
    found: Tensors = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        address = plain.untyped_storage().data_ptr()
        found[name] = plain.clone() if address in seen else plain
        seen.add(address)
    return found


def _bytes(tensors: Tensors) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


def _flush(path: str | Path, mode: int) -> None:
    """To the disk itself, where the system can."""
    with suppress(PermissionError):  # Windows opens no folder
        handle = os.open(path, mode)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)


_opening = threading.Lock()


def store() -> Store:
    """This process's store: the folder that REPARAM_CACHE names, else the user's cache."""
    with _opening:
        return _store()


@cache
def _store() -> Store:
    return Store(Path(os.environ.get("REPARAM_CACHE") or user_cache_dir("reparam-explorer")))


def reopen() -> None:
    """Forget this process's store: the next one is where REPARAM_CACHE then says."""
    _store.cache_clear()


def store_warning() -> str | None:
    """What the store could not do, where it was opened at all."""
    return _store().warning if _store.cache_info().currsize else None
