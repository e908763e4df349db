"""Every mistake that a user can make gives one line that names it and what to do, exit 2, and loses nothing."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
import transformers
from safetensors import SafetensorError

from reparam_core import cli
from reparam_core.models.catalogue import ASSETS
from reparam_core.models.packed import MACHINE

DECODER = "embedded-decoder"
Run = Callable[..., tuple[int, str]]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model without a tokenizer."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=1,
                                      num_attention_heads=4, max_position_embeddings=64)  # fmt: skip
    folder = tmp_path_factory.mktemp("tiny")
    transformers.LlamaForCausalLM(config).half().save_pretrained(folder)
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The real command line: exit status and the last line of standard error."""

    def ran(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["reparam_core", *arguments])
        try:
            cli.main()
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        told = capsys.readouterr().err
        assert "Traceback" not in told
        return status, told.strip().splitlines()[-1] if told.strip() else ""

    return ran


RECIPES = {
    "svd:r0": "greater than or equal to 1",
    "svd:r9999": "above the full rank",
    "svd:0": "greater than 0",
    "svd:1.5": "less than or equal to 1",
    "magnitude:1": "less than 1",
    "magnitude:1.5": "less than 1",
    "magnitude:-0.5": "no setting for magnitude",
    "rtn:0": "It takes 2 to 8",
    "rtn:1": "It takes 2 to 8",
    "rtn:17": "It takes 2 to 8",
    "rtn:4g0": "is wrong: group: should be a whole number from 1 on, or 'tensor' (got 0). Its",
    "frobnicate:3": "Unknown",
    "svd": "no step of a recipe",
    "{": "JSON",
    '{"rules": [], "speed": 3}': "unknown field",
    '{"rules": [{"were": "*"}]}': "Unknown field 'were'",
    '{"rules": [{"rank": {"method": "svd", "keep": 0.5, "rank": 3}}]}': "exactly one of",
    '{"rules": [{"where": "*nothing*", "rank": {"method": "svd", "keep": 0.5}}]}': "matches nothing",
    "missing.json": "missing.json",
    "[]": "The recipe is [], no JSON object",
    "null": "The recipe is null, no JSON object",
    '[{"rank": {"method": "svd"}}]': "no JSON object",
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_wrong_recipe_is_one_line(recipe: str, run: Run) -> None:
    status, line = run("measure", "--model", DECODER, "--recipe", recipe, "--sequences", "1", "--no-latency")
    assert status == 2
    assert RECIPES[recipe] in line


def test_a_recipe_file_that_holds_a_list_is_one_line(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "list.json"
    file.write_text("[1, 2]", encoding="utf-8")
    status, line = run("measure", "--model", DECODER, "--recipe", str(file))
    assert status == 2
    assert "list.json' is [1, 2], no JSON object" in line
    assert '{"rules": [' in line


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def cut_short(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def corrupt(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(b"\xff" * 64 + file.read_bytes()[64:])


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def remote_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_evil.Evil"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{", encoding="utf-8")


def nonsense_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "llama", "hidden_size": "x"}', encoding="utf-8")


FOLDERS = {
    nonsense_config: "is not understood",
    no_config: "no config.json",
    cut_short: "cut short",
    corrupt: "damaged",
    pickled: "pickled weights",
    remote_code: "auto_map",
    broken_config: "no valid JSON",
}


@pytest.mark.parametrize("damage", FOLDERS)
def test_a_folder_that_is_not_whole_or_not_safe_is_one_line(
    damage: Callable[[Path], None], tiny: Path, tmp_path: Path, run: Run
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    damage(folder)
    status, line = run("inspect", "--model", str(folder))
    assert status == 2
    assert FOLDERS[damage] in line
    assert str(folder) in line


def test_an_unknown_model_names_the_known_ones(run: Run) -> None:
    status, line = run("inspect", "--model", "no/such-model")
    assert status == 2
    assert DECODER in line


@pytest.mark.parametrize("name", ["/does/not/exist", "../x", "./x", "~/x", "models/of/mine", "models\\mine"])
def test_a_path_is_not_looked_for_on_the_hub(name: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reparam_core.models.loading._from_hub", lambda _: pytest.fail("the hub was asked"))
    status, line = run("inspect", "--model", name)
    assert status == 2
    assert f"There is no folder '{name}'. Give a folder" in line


@pytest.mark.parametrize("name", ["", "  "])
def test_a_model_without_a_name_is_one_line(name: str, run: Run) -> None:
    status, line = run("inspect", "--model", name)
    assert status == 2
    assert line.startswith("Error: No model is named. Known: embedded-decoder,")


@pytest.mark.parametrize("recipe", ["frobnicate:3", "svd:0", "missing.json"])
def test_a_recipe_is_read_before_a_model_is_fetched(recipe: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reparam_core.models.load", lambda *_, **__: pytest.fail("a model was fetched"))
    for command in (("measure",), ("spectra",), ("attention", "--prompt", "a"), ("compress", "--out", "nowhere")):
        assert run(*command, "--model", DECODER, "--recipe", recipe)[0] == 2


def test_a_recipe_that_does_not_fit_is_told_before_any_text_is_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        import_module("reparam_core.measure.measurement"), "_asked", lambda *_: pytest.fail("a text was read")
    )
    status, line = run("measure", "--model", DECODER, "--recipe", "svd:r9999")
    assert status == 2
    assert "above the full rank 128" in line


def test_what_is_long_is_repeated_in_part(run: Run) -> None:
    long = "x" * 10_000
    for given in (("--recipe", long), ("--data", long), ("--recipe", f'{{"rules": [{{"where": "{long}"}}]}}'),
                  ("--calibration", long), ("--dtype", "float32", "--text", long)):  # fmt: skip
        status, line = run("measure", "--model", DECODER, *given)
        assert status == 2
        assert len(line) < 500
    status, line = run("inspect", "--model", long)
    assert status == 2
    assert len(line) < 500


def test_a_model_too_large_for_this_machine_is_said_before_it_is_loaded(
    tiny: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    status, line = run("inspect", "--model", str(folder))
    assert status == 2
    assert "memory" in line


TEXTS: dict[str, tuple[bytes, str]] = {
    "empty.txt": (b"  \n", "is empty"),
    "short.txt": (b"Only a few words.", "less than one sequence"),
    "binary.txt": (bytes(range(128, 256)) * 9, "not UTF-8"),
    "table.csv": (b"a,b\n1,2\n", "column of texts"),
    "zeros.txt": (bytes(5000), "NUL bytes"),
    "rowless.csv": (b"text,label\n", "no row"),
    "zeros.csv": (b"text,label\na\0,b\n", "NUL bytes"),
    "alike.csv": (b"text,label\na,b\nc,b\n", "same answer"),
    "junk.npy": (b"no array", "junk.npy' holds no array of numbers. Save token ids"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_wrong_text_is_one_line(name: str, tmp_path: Path, run: Run) -> None:
    content, told = TEXTS[name]
    (tmp_path / name).write_bytes(content)
    status, line = run("measure", "--model", DECODER, "--text", str(tmp_path / name))
    assert status == 2
    assert told in line


ARRAYS = {
    "flat": (np.arange(64), "shape (64,)"),
    "real": (np.ones((2, 64)), "float64"),
    "alien": (np.full((2, 64), 10**6), "vocabulary"),
    "none": (np.zeros((0, 64), int), "shape (0, 64)"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_wrong_token_ids_are_one_line(name: str, tmp_path: Path, run: Run) -> None:
    array, told = ARRAYS[name]
    np.save(tmp_path / "ids.npy", array)
    status, line = run("measure", "--model", DECODER, "--text", str(tmp_path / "ids.npy"))
    assert status == 2
    assert told in line


OPTIONS = {
    (
        "--data",
        "frob",
    ): "There is no text or table 'frob'. Known: addresses, moby-dick, reviews, mixture, addresses-train, "
    "sentences, dates-train, movie-reviews, last-words, state-capitals; or a file.",
    ("--data", "dates"): "dates has more than 20 different answers",
    ("--dtype", "int3"): "Unknown dtype",
    ("--device", "tpu"): "Unknown device",
    ("--sequences", "-1"): "--sequences",
    ("--length", "1"): "--length",
    ("--offset", "999999999"): "less than one sequence",
    ("--calibration", "addresses"): "32 tokens in a row",
}


@pytest.mark.parametrize(("option", "told"), [
    (("--text", ""), "no name"), (("--data", ""), "no name"), (("--text", "a.txt", "--data", "dates"), "both name")])  # fmt: skip
def test_what_is_scored_is_named_once(option: tuple[str, ...], told: str, run: Run) -> None:
    status, line = run("measure", "--model", DECODER, *option)
    assert status == 2
    assert told in line


@pytest.mark.parametrize("option", OPTIONS, ids=" ".join)
def test_a_wrong_option_is_one_line(option: tuple[str, str], run: Run) -> None:
    status, line = run("measure", "--model", DECODER, "--no-latency", "--no-tasks", *option)
    assert status == 2
    assert OPTIONS[option] in line


@pytest.mark.parametrize(("given", "told"), [
    (("measure", "--model", DECODER, "--sequences", "0"), "Error: Invalid value for '--sequences': Input should be greater than or equal to 1. See --help."),
    (("measure", "--model", DECODER, "--length", "1"), "Error: Invalid value for '--length': Input should be greater than or equal to 2. See --help."),
    (("measure",), "Error: Missing option '--model'. See --help."),
    (("weigh",), "Error: No such command 'weigh'. See --help."),
])  # fmt: skip
def test_a_command_line_that_cannot_be_read_is_one_line(
    given: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["reparam_core", *given])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines() == [told]


def test_without_a_command_the_help_comes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["reparam_core"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "compress" in capsys.readouterr().err


def test_a_glob_without_end_or_meaning_is_one_line(run: Run) -> None:
    for glob, told in (
        ("{0..5000}", "stands for more than"),
        ("nothing.*", "layers.0.attention.q, layers.0.attention.k"),
    ):
        status, line = run("spectra", "--model", DECODER, "--where", glob)
        assert status == 2
        assert told in line


def test_compress_refuses_an_unknown_format_and_an_existing_folder(tmp_path: Path, run: Run) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "precious.txt").write_text("mine", encoding="utf-8")
    compress = ("compress", "--model", DECODER, "--recipe", "rtn:4", "--out", str(kept))
    assert "packed" in run(*compress, "--format", "zip")[1]
    status, line = run(*compress)
    assert status == 2
    assert "--force" in line
    assert (kept / "precious.txt").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(("place", "told"), [
    ("file", "file exists and is no folder. Choose"), ("file/inside", "Not a directory"), ("x" * 300, "File name too long"),
    ("kept", "The folder"), ("closed/inside", "no permission in")])  # fmt: skip
def test_a_place_that_cannot_be_written_is_told_before_any_work(
    place: str, told: str, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "kept").mkdir()
    (tmp_path / "closed").mkdir()
    allowed = os.access  # root may write everywhere
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "closed" and allowed(path, mode))
    monkeypatch.setattr("reparam_core.models.load", lambda *_, **__: pytest.fail("a model was fetched"))
    status, line = run("compress", "--model", DECODER, "--recipe", "rtn:4", "--out", str(tmp_path / place))
    assert status == 2
    assert told in line
    assert sorted(one.name for one in tmp_path.iterdir()) == ["closed", "file", "kept"]


def test_what_a_killed_compress_left_is_cleared_by_the_next(tmp_path: Path, run: Run) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, alive, strange = (tmp_path / f".compress-{name}-0a1b2c3d" for name in (
        f"{MACHINE}-{ended.pid}", f"{MACHINE}-{os.getpid()}", f"{'0' * 8}-{ended.pid}"))  # fmt: skip
    mine = tmp_path / ".compress-notes"
    for folder in (dead, alive, strange, mine):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"half")
    assert run("compress", "--model", DECODER, "--recipe", "rtn:4", "--out", str(tmp_path / "out"))[0] == 0
    assert {one.name for one in tmp_path.iterdir()} == {alive.name, strange.name, mine.name, "out"}
    assert all((folder / "model.safetensors").is_file() for folder in (alive, strange, mine))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"),
                                   SafetensorError("I/O error: No space left on device (os error 28)")])  # fmt: skip
def test_a_failed_compress_leaves_no_half_written_folder(
    error: Exception, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object, **_named: object) -> None:
        raise error

    monkeypatch.setattr("reparam_core.models.packed.save_file", full)
    status, line = run("compress", "--model", DECODER, "--recipe", "rtn:4", "--out", str(tmp_path / "out"))
    assert status == 2
    assert "space" in line
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_is_a_warning_and_the_answer_still_comes(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reparam_core import store

    blocked = tmp_path / "file"
    blocked.write_text("no folder", encoding="utf-8")
    monkeypatch.setenv("REPARAM_CACHE", str(blocked))
    store.reopen()
    try:
        status, line = run(
            "measure", "--model", DECODER, "--recipe", "svd:0.5", "--sequences", "1", "--no-latency", "--no-tasks"
        )
    finally:
        store.reopen()
    assert status == 0
    assert line.startswith("Warning:")


def test_the_shipped_models_are_where_the_catalogue_says() -> None:
    assert (ASSETS / DECODER / "model.safetensors").is_file()
