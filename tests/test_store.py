"""The store keeps what it was given, across processes and accidents, and never reads anything half-written."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from reparam_core.store import Store, key


def test_a_result_outlives_its_store(tmp_path: Path) -> None:
    Store(tmp_path).put("a", {"nll": 1.5}, model="m", recipe="base")
    again = Store(tmp_path)
    assert again.get("a") == {"nll": 1.5}
    assert again.get("b") is None
    assert [(name, value) for name, value, _ in again.all("m")] == [("a", {"nll": 1.5})]
    assert again.all("other") == []


def test_keys_depend_on_content_not_on_order() -> None:
    assert key(a=1, b="x") == key(b="x", a=1)
    assert key(a=1, b="x") != key(a=1, b="y")


def test_prepared_is_made_once_and_a_damaged_file_again(tmp_path: Path) -> None:
    calls = []

    def make() -> dict[str, torch.Tensor]:
        calls.append(1)
        return {"left": torch.arange(6.0).view(2, 3).T}

    first = Store(tmp_path).prepared("k", make)["left"].clone()  # the file below it is overwritten
    assert torch.equal(Store(tmp_path).prepared("k", make)["left"], first)
    assert len(calls) == 1
    (tmp_path / "prepared" / "k.safetensors").write_bytes(b"half a file")
    assert torch.equal(Store(tmp_path).prepared("k", make)["left"], first)
    assert len(calls) == 2


def test_a_damaged_database_is_set_aside(tmp_path: Path) -> None:
    Store(tmp_path).put("a", {"x": 1}, model="m", recipe="base")
    for path in tmp_path.glob("results.sqlite*"):
        path.write_bytes(b"this is no database " * 100)
    mended = Store(tmp_path)
    mended.put("b", {"x": 2}, model="m", recipe="base")
    assert mended.get("b") == {"x": 2}
    assert list(tmp_path.glob("results.damaged-*"))


def test_where_the_disk_refuses_results_stay_in_memory(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file where the folder should be")
    store = Store(blocked)
    store.put("a", {"x": 1}, model="m", recipe="base")
    assert store.get("a") == {"x": 1}
    assert len(store.all("m")) == 1
    assert torch.equal(store.prepared("k", lambda: {"w": torch.ones(2)})["w"], torch.ones(2))
    assert store.warning is not None
    assert "\n" not in store.warning


def test_eight_threads_at_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: store.put(f"k{i}", {"i": i}, model="m", recipe="r"), range(64)))
    assert sorted(value["i"] for _, value, _ in store.all("m")) == list(range(64))


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_a_killed_writer_leaves_the_store_readable(tmp_path: Path) -> None:
    script = (
        "import sys, torch, pathlib; from reparam_core.store import Store; s = Store(pathlib.Path(sys.argv[1]))\n"
        "for i in range(10**6):\n"
        "    s.put(f'k{i}', {'i': i}, model='m', recipe='r')\n"
        "    s.prepared(f'k{i}', lambda: {'w': torch.full((200000,), float(i))})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    while not list((tmp_path / "prepared").glob("k3.safetensors")):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    store = Store(tmp_path)
    for name, value, _ in store.all("m")[:-1]:
        assert float(store.prepared(name, lambda: {"w": torch.tensor([-1.0])})["w"][0]) == value["i"]
