"""The store keeps what it was given, across processes and accidents, and never reads anything half-written."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reparam_core.store import Store, key

WRITER = """
import sys, torch, pathlib
from reparam_core.store import Store
s = Store(pathlib.Path(sys.argv[1]))
for i in range(int(sys.argv[2]), int(sys.argv[3])):
    s.put(f'k{i}', {'i': i}, model='m', recipe='r')
    s.prepared(f'k{i}', lambda: {'w': torch.full((200000,), float(i))})
print(s.warning)
"""
FULL = """
import resource, signal, sys, torch, pathlib
from reparam_core.store import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
s = Store(pathlib.Path(sys.argv[1]))
s.put('before', {'x': 0}, model='m', recipe='r')
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for i in range(40):
    s.put(f'k{i}', {'x': 'long' * 2000}, model='m', recipe='r')
made = s.prepared('k', lambda: {'w': torch.ones(100_000)})
assert torch.equal(made['w'], torch.ones(100_000)), made
assert s.tensors('k') is not None
assert s.get('before') == {'x': 0} and all(s.get(f'k{i}') for i in range(40)) and len(s.all('m')) == 41
assert not list(pathlib.Path(sys.argv[1], 'prepared').iterdir())
print(s.warning)
"""
READ_ONLY = """
import os, sys, torch, pathlib
from reparam_core.store import Store
if os.geteuid() == 0:
    os.setuid(65534)
s = Store(pathlib.Path(sys.argv[1]))
assert s.get('a') == {'x': 1}, s.get('a')
assert torch.equal(s.tensors('k')['w'], torch.ones(3))
s.put('b', {'x': 2}, model='m', recipe='r')
s.save_tensors('j', {'w': torch.zeros(3)})
assert s.get('b') == {'x': 2} and len(s.all('m')) == 2
assert torch.equal(s.tensors('j')['w'], torch.zeros(3))
print(s.warning)
"""
posix = pytest.mark.skipif(os.name == "nt", reason="signals, limits and owners are POSIX")


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def last_line(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return output.splitlines()[-1]


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


def test_a_vanished_cache_is_begun_anew(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    store.put("a", {"x": 1}, model="m", recipe="base")
    shutil.rmtree(tmp_path / "cache")
    store.put("b", {"x": 2}, model="m", recipe="base")
    store.save_tensors("k", {"w": torch.ones(2)})
    assert (store.get("a"), store.get("b"), store.warning) == (None, {"x": 2}, None)
    assert store.tensors("k") is not None


def test_a_database_damaged_while_open_is_set_aside(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("a", {"x": 1}, model="m", recipe="base")
    (tmp_path / "results.sqlite").write_bytes(b"this is no database " * 100)
    assert store.get("a") is None
    store.put("a", {"x": 2}, model="m", recipe="base")
    assert Store(tmp_path).get("a") == {"x": 2}
    assert "set aside" in (store.warning or "")


@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.floats(allow_nan=False), st.text(), st.none())))
def test_keys_are_canonical(parts: dict[str, object]) -> None:
    backwards = dict(reversed(parts.items()))
    assert key(content=parts) == key(content=backwards)
    assert key(content=parts) != key(content={**parts, "one more": 1, "and another": 2})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.int64, torch.bool])
def test_tensors_come_back_as_they_were(tmp_path: Path, dtype: torch.dtype) -> None:
    whole = (torch.arange(24).view(4, 6) % 5).to(dtype)
    given_ones = {"whole": whole, "turned": whole.T, "part": whole[1:3, ::2], "same": whole, "none": whole[:0]}
    store = Store(tmp_path)
    assert store.tensors("k") is None
    store.save_tensors("k", given_ones)
    found = Store(tmp_path).tensors("k")
    assert found is not None
    assert all(torch.equal(found[name], one) and found[name].dtype == dtype for name, one in given_ones.items())


@pytest.mark.parametrize("length", [0, 3, 9, 60, -1])
def test_half_a_file_is_no_file(tmp_path: Path, length: int) -> None:
    store = Store(tmp_path)
    store.save_tensors("k", {"w": torch.ones(100)})
    path = tmp_path / "prepared" / "k.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    assert store.tensors("k") is None
    assert not path.exists()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux tells what is mapped")
def test_factors_are_mapped_not_copied(tmp_path: Path) -> None:
    kept = Store(tmp_path).prepared("mapped", lambda: {"w": torch.ones(10_000)})
    assert "mapped.safetensors" in Path("/proc/self/maps").read_text()
    kept["w"][0] = 7.0  # a private page: the file stays as it is
    assert float(Store(tmp_path).prepared("mapped", dict)["w"][0]) == 1.0


def test_unfinished_files_of_long_ago_are_cleared(tmp_path: Path) -> None:
    Store(tmp_path)
    old, young = tmp_path / "prepared" / "old.part", tmp_path / "prepared" / "young.part"
    old.touch()
    young.touch()
    os.utime(old, (0, 0))
    Store(tmp_path)
    assert (old.exists(), young.exists()) == (False, True)


def test_threads_that_ask_for_the_same_factors_wait_for_one(tmp_path: Path) -> None:
    store, calls = Store(tmp_path), list[int]()

    def make() -> dict[str, torch.Tensor]:
        calls.append(1)
        time.sleep(0.05)
        return {"w": torch.ones(2)}

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: store.prepared("k", make), range(8)))
    assert len(calls) == 1
    assert all(torch.equal(one["w"], torch.ones(2)) for one in found)


def test_a_failed_preparation_may_be_tried_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(ZeroDivisionError):
        store.prepared("k", lambda: {"w": torch.ones(1 // 0)})
    assert "w" in store.prepared("k", lambda: {"w": torch.ones(2)})


@posix
def test_processes_may_open_and_write_at_once(tmp_path: Path) -> None:
    processes = [start(WRITER, tmp_path, 10 * i, 10 * i + 20) for i in range(3)]
    assert [last_line(process) for process in processes] == ["None"] * 3
    assert sorted(value["i"] for _, value, _ in Store(tmp_path).all("m")) == list(range(40))


@posix
def test_a_full_disk_costs_only_persistence(tmp_path: Path) -> None:
    assert "last until this program ends" in last_line(start(FULL, tmp_path))
    assert Store(tmp_path).get("before") == {"x": 0}


@posix
def test_a_read_only_cache_is_still_read() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = Store(folder)
        store.put("a", {"x": 1}, model="m", recipe="r")
        store.save_tensors("k", {"w": torch.ones(3)})
        for path in [*folder.rglob("*"), folder]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        assert "last until this program ends" in last_line(start(READ_ONLY, folder))
        folder.chmod(0o755)
        (folder / "prepared").chmod(0o755)


@posix
def test_a_killed_writer_leaves_the_store_readable(tmp_path: Path) -> None:
    process = start(WRITER, tmp_path, 0, 10**6)
    while not list((tmp_path / "prepared").glob("k3.safetensors")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    store = Store(tmp_path)
    assert store.warning is None
    results = store.all("m")
    assert len(results) >= 4
    for name, value, _ in results:
        found = store.tensors(name)
        assert found is not None or value["i"] == len(results) - 1  # the last may have died before its factors
        assert found is None or torch.equal(found["w"], torch.full((200000,), float(value["i"])))


def test_factors_used_longest_ago_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Store(tmp_path)
    for index in range(4):
        kept.save_tensors(f"factor-{index}", {"w": torch.zeros(1000)})
        path = kept._path(f"factor-{index}")
        os.utime(path, (index, index))
    monkeypatch.setattr("reparam_core.store.PREPARED_BYTES", 9_000)
    again = Store(tmp_path)
    assert [again.has_tensors(f"factor-{index}") for index in range(4)] == [False, False, True, True]
