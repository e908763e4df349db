"""The command line's contract: one JSON object on standard output, its keys, and figures that agree with the files."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from reparam_core import cli

DECODER, DATES = "embedded-decoder", "embedded-seq2seq"
Answer = Callable[..., dict[str, Any]]
Told = Callable[..., tuple[list[str], list[str]]]


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Answer:
    """A command's one JSON object."""

    def asked(*arguments: str) -> dict[str, Any]:
        monkeypatch.setattr("sys.argv", ["reparam_core", *arguments, "--json"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 1
        found = json.loads(lines[0], parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert isinstance(found, dict)
        return found

    return asked


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Told:
    """What a command says to people: the lines on standard output and on standard error."""

    def asked(*arguments: str) -> tuple[list[str], list[str]]:
        monkeypatch.setattr("sys.argv", ["reparam_core", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        found = capsys.readouterr()
        return found.out.splitlines(), found.err.splitlines()

    return asked


def test_people_read_what_was_not_done_as_asked(told: Told) -> None:
    out, notes = told(
        "measure", "--model", DECODER, "--recipe", "rtn:4g9999", "--sequences", "1", "--no-latency", "--no-tasks"
    )
    assert len(out) == 1
    assert notes == ["Note: groups of 9999: 42 of 42 quantized matrices have shorter rows, one grid each."], (
        "no key is explained"
    )


def test_people_read_spectra_before_and_after(told: Told) -> None:
    asked = ("spectra", "--model", DECODER, "--where", "layers.0.attention.*")
    (before, *_), _ = told(*asked)
    (line, *others), _ = told(
        *asked, "--recipe", '{"rules": [{"where": "*.q", "rank": {"method": "svd", "rank": 16}}]}'
    )
    first, energy = (one.split(" → ")[0].split()[-1] for one in line.split("90 %"))
    assert before.split() == [
        "layers.0.attention.q",
        "stable",
        "rank",
        first,
        "90",
        "%",
        "of",
        "energy",
        "in",
        "rank",
        energy,
    ]
    assert line.count(" → ") == 2
    assert int(line.split()[-1]) <= 16 < int(energy)
    assert not any("→" in one for one in others), "what the recipe leaves has one figure"


def test_people_read_how_far_attention_moves(told: Told, answer: Answer) -> None:
    asked = ("attention", "--model", DECODER, "--prompt", "The house of")
    (line,), _ = told(*asked)
    assert line.startswith("self-attention: 6 layers × 8 heads, ")
    (first, *layers, last), _ = told(*asked, "--recipe", "rtn:2g64")
    bits = np.array(answer(*asked, "--recipe", "rtn:2g64")["attention"]["self-attention"]["divergence_bits"])
    layer, head = np.unravel_index(bits.argmax(), bits.shape)
    assert first == line
    assert [float(one.split()[2]) for one in layers] == pytest.approx(bits.mean(1), abs=1e-4)
    assert last.startswith(f"  farthest: head {head} of layer {layer}, {bits.max():.4f} bits")


def numbers(value: Any) -> Iterator[float]:
    """Every number inside."""
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from numbers(one)
    elif isinstance(value, int | float):
        yield value


def test_models_says_what_is_here(answer: Answer) -> None:
    found = answer("models")
    assert {one["name"]: one["available"] for one in found["models"]}[DECODER]


def test_inspect_works_without_a_tokenizer(answer: Answer, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.OPTConfig(vocab_size=64, hidden_size=32, ffn_dim=48, num_hidden_layers=1, word_embed_proj_dim=32,
                                    num_attention_heads=4, max_position_embeddings=64)  # fmt: skip
    transformers.OPTForCausalLM(config).half().save_pretrained(tmp_path)
    found = answer("inspect", "--model", str(tmp_path))
    assert set(found) == {"model", "architecture", "parameters", "bytes_base", "tied", "matrices"}
    assert found["architecture"] == "opt"
    keys = {"role", "module", "shape", "parameters", "dtype", "bytes", "compressed_by_default"}
    assert all(set(one) == keys for one in found["matrices"])
    assert "layers.0.attention.q" in {one["role"] for one in found["matrices"]}


CONTRACT = set(
    "nll perplexity bits_per_byte sequence_nll base_nll delta_nll delta_nll_ci95 next_token_accuracy kl_from_base flips "
    "objective tasks accuracy bytes bytes_base bytes_blocks bytes_blocks_base parameters parameters_base source_bits "
    "latency seconds cached peak_rss_bytes base_rss_bytes model model_sha256 recipe text calibration dtype device seed "
    "versions notes".split()
)


def test_measure_has_every_key_and_finite_numbers(answer: Answer) -> None:
    found = answer(
        "measure",
        "--model",
        DECODER,
        "--recipe",
        "svd:0.5 + rtn:4g64",
        "--sequences",
        "3",
        "--length",
        "400",
        "--fresh",
    )
    assert set(found) >= CONTRACT
    assert all(math.isfinite(one) for one in numbers(found))
    assert found["perplexity"] == pytest.approx(math.exp(found["nll"]))
    assert found["nll"] == pytest.approx(sum(found["sequence_nll"]) / 3)
    low, high = found["delta_nll_ci95"]
    assert low <= found["delta_nll"] <= high
    assert found["text"] | {"name": "addresses", "offset": 0, "sequences": 3, "length": 400} == found["text"]
    assert set(found["latency"]) == {"setting", "base", "speed", "tokens", "batch", "threads", "runs"}
    assert set(found["seconds"]) == {"prepare", "apply", "evaluate"}
    assert set(found["tasks"]) == {"movie-reviews", "last-words", "state-capitals"}
    keys = {"n", "accuracy", "accuracy_ci95", "base_accuracy", "delta_ci95", "majority"}
    assert all(set(one) >= keys for one in found["tasks"].values())
    assert found["accuracy"] == next(iter(found["tasks"].values()))["accuracy"]


def test_what_was_measured_is_found_again(answer: Answer) -> None:
    again = ("measure", "--model", DATES, "--recipe", "magnitude:0.25", "--no-latency")
    first, second = answer(*again, "--fresh"), answer(*again)
    assert (first["cached"], second["cached"]) == (False, True)
    assert first | {"cached": True} == second


def test_an_answer_is_right_where_all_of_it_is(answer: Answer) -> None:
    found = answer("measure", "--model", DATES, "--no-latency")
    assert found["objective"] == "seq2seq"
    assert found["tasks"]["dates"]["accuracy"] >= 0.98
    assert found["accuracy"] == found["tasks"]["dates"]["base_accuracy"]
    assert any(note.startswith("sequence_nll") for note in found["notes"])


def test_the_users_own_table_is_a_task(answer: Answer, tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    rows = [("the fourth of March, 1861", "1861-03-04"), ("Dated the fifteenth of May, 1728", "1728-05-15")] * 10
    table.write_text("text,label\n" + "".join(f'"{text}",{date}\n' for text, date in rows), encoding="utf-8")
    found = answer("measure", "--model", DATES, "--data", str(table), "--no-latency")
    assert found["tasks"]["mine.csv"]["n"] == 20
    assert found["accuracy"] == 1.0


def test_what_was_not_done_as_asked_is_a_note(answer: Answer, tmp_path: Path) -> None:
    table = tmp_path / "few.csv"
    table.write_text("text,label\n" + "a fine film,good\na dull film,bad\n" * 3, encoding="utf-8")
    found = answer(
        "measure", "--model", DECODER, "--recipe", "rtn:4g100000", "--data", str(table), "--no-latency", "--fresh"
    )
    assert "6 rows are scored: from fewer than 16 no interval can be told" in found["notes"]
    assert any(
        note.startswith("groups of 100000: 42 of 42 quantized matrices have shorter rows") for note in found["notes"]
    )
    found = answer("measure", "--model", DECODER, "--recipe", "wanda:0.5", "--calibration", "mixture", "--sequences", "1", "--length",
                   "100000", "--calibration-length", "100000", "--calibration-sequences", "1", "--no-latency", "--no-tasks", "--fresh")  # fmt: skip
    limit = "length 100000 is above the model's 512 positions: 512 used"
    assert {limit, f"in the calibration, {limit}"} <= set(found["notes"])
    assert not [note for note in found["notes"] if note.startswith("groups")]


def test_token_ids_are_scored_as_they_are(answer: Answer, tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", np.random.default_rng(0).integers(0, 4000, (2, 128)).astype(np.int32))
    found = answer("measure", "--model", DECODER, "--text", str(tmp_path / "ids.npy"), "--no-latency", "--no-tasks")
    assert found["text"]["sequences"] == 2
    assert found["bits_per_byte"] is None
    assert found["delta_nll_ci95"] is None
    assert {note.split(":")[0] for note in found["notes"]} >= {"bits_per_byte", "delta_nll_ci95", "latency"}


@pytest.mark.parametrize("recipe", ["base", "rtn:4g64", "svd:0.4 + magnitude:0.5 + rtn:3g32s",
                                    '{"rules": [{"where": "*", "bits": {"method": "rtn", "bits": 8}}], "storage": "bfloat16"}'])  # fmt: skip
def test_a_packed_folder_has_the_bytes_and_the_quality_that_were_shown(
    recipe: str, answer: Answer, tmp_path: Path
) -> None:
    asked = ("--sequences", "2", "--no-latency", "--no-tasks")
    shown = answer("measure", "--model", DECODER, "--recipe", recipe, *asked)
    answer("compress", "--model", DECODER, "--recipe", recipe, "--out", str(tmp_path / "out"), "--format", "packed")
    written = sum(file.stat().st_size for file in (tmp_path / "out").glob("*.safetensors"))
    again = answer("measure", "--model", str(tmp_path / "out"), *asked)
    assert shown["bytes"] == written == again["bytes"] == again["bytes_base"]
    assert again["nll"] == pytest.approx(shown["nll"], abs=1e-5)
    assert again["delta_nll"] == 0


def test_spectra_before_and_after(answer: Answer) -> None:
    found = answer("spectra", "--model", DECODER, "--where", "layers.0.attention.q", "--recipe", "svd:r16")
    (one,) = found["matrices"]
    after = one["after"]["singular_values"]
    assert len(one["singular_values"]) == 256
    assert after[:16] == pytest.approx(one["singular_values"][:16], rel=1e-2)
    assert max(after[17:]) < 1e-2 * after[0]


def test_attention_of_all_three_kinds(answer: Answer) -> None:
    found = answer("attention", "--model", DATES, "--prompt", "the fourth of March, 1861")
    kinds = {"encoder self-attention", "decoder self-attention", "cross-attention"}
    assert set(found["attention"]) == kinds
    for one in found["attention"].values():
        maps = np.array(one["maps"])
        assert maps.shape[2:] == (len(one["queries"]), len(one["keys"]))
        assert maps.sum(-1) == pytest.approx(np.ones(maps.shape[:3]), abs=1e-4)


def test_a_calibration_is_mixed_with_sentences(
    answer: Answer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("measure", "--model", DECODER, "--recipe", "wanda:0.5", "--sequences", "1", "--length", "64", "--no-latency",
             "--no-tasks", "--calibration-sequences", "8", "--calibration-length", "64")  # fmt: skip
    plain, mixed = (
        answer(*asked, "--calibration", "addresses-train", "--calibration-sentences", share) for share in ("0", "0.75")
    )
    assert "sentences" not in plain["calibration"]
    assert (mixed["calibration"]["sentences"], mixed["calibration"]["sequences"]) == (0.75, 8)
    assert mixed["nll"] != plain["nll"]
    own = {"rules": [{"sparsity": {"method": "wanda", "fraction": 0.5}}],
           "calibration": {"text": "addresses-train", "sequences": 8, "length": 64, "sentences": 0.75}}  # fmt: skip
    asked = ("measure", "--model", DECODER, "--sequences", "1", "--length", "64", "--no-latency", "--no-tasks")
    assert answer(*asked, "--recipe", json.dumps(own))["nll"] == mixed["nll"]
    for wrong, told in ((("--calibration-sentences", "0.5"), "mixes a named text"),
                        (("--calibration-sentences", "2"), "A share of 2.0 of the sequences cannot be sentences"),
                        (("--calibration", "mixture", "--calibration-sentences", "1"), "A share of 1.0")):  # fmt: skip
        monkeypatch.setattr("sys.argv", ["reparam_core", *asked, *wrong])
        with pytest.raises(SystemExit, match="2"):
            cli.main()
        assert told in capsys.readouterr().err
