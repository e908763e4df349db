"""The setting as code: what it prints is what the page shows."""

import json
import re
import runpy
import shlex
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from pages.components.panels import as_typed, command_lines, layer_columns, python_lines
from reparam_core import load
from reparam_core.cli import app
from reparam_core.jobs import Point, explored
from reparam_core.recipes import Recipe
from tests.pages.conftest import Open, whole

CASES = [("embedded-decoder", "moby-dick"), ("embedded-encoder-pretrained", "reviews"), ("embedded-seq2seq", "dates")]
RECIPE = Recipe.parse("rtn:4g64").canonical


def shown(name: str, source: str) -> Point:
    (*_, last) = explored(load(name), RECIPE, [source])
    return next(iter(last.points.values()))


@pytest.mark.parametrize(("name", "source"), CASES)
def test_the_python_measures_what_the_page_shows(
    name: str, source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script, point = tmp_path / "script.py", shown(name, source)
    script.write_text(python_lines(load(name), RECIPE, source), encoding="utf-8")
    runpy.run_path(str(script))
    printed = capsys.readouterr().out
    assert re.search(rf"perplexity {point.perplexity:.4g}( and {point.accuracy:.1%} right)? on {source} ", printed)
    assert f"{point.bytes:,} bytes" in printed


@pytest.mark.parametrize(("name", "source"), CASES)
def test_the_command_measures_what_the_page_shows(name: str, source: str) -> None:
    words = shlex.split(command_lines(load(name), RECIPE, source).splitlines()[0])
    assert words[:3] == ["python", "-m", "reparam_core"]
    result = CliRunner().invoke(app, [*words[3:], "--no-latency", "--no-tasks", "--json"])
    assert result.exit_code == 0
    found, point = json.loads(result.stdout), shown(name, source)
    assert found["perplexity"] == pytest.approx(point.perplexity)
    assert found["bytes"] == point.bytes


@pytest.mark.parametrize(("file", "option"), [("it's my own.txt", "--text"), ("answers $HOME.csv", "--data")])
def test_a_file_of_ones_own_keeps_its_name(tmp_path: Path, file: str, option: str) -> None:
    path = tmp_path / file
    words = shlex.split(command_lines(load("embedded-decoder"), RECIPE, str(path)).splitlines()[0])
    assert words[words.index(option) + 1] == str(path)
    assert ("--length" in words) == (option == "--text")


def test_names_and_forms_have_room_in_the_table_of_layers() -> None:
    table = pd.DataFrame(
        {"role": ["decoder.layers.0.attention.out"], "form": ["low rank (quantized)"], "shape": ["128 × 128"]}
    )
    widths = {name: one["width"] for name, one in layer_columns(table).items()}
    assert (widths["role"], widths["form"]) == (198, 138)
    assert sum(widths.values()) < 604  # pixels of its column at 1280


@pytest.mark.parametrize("panel", ["By layer", "Claimed against measured", "Tasks"])
def test_a_slide_s_footer_names_its_setting(opened: Open, monkeypatch: pytest.MonkeyPatch, panel: str) -> None:
    monkeypatch.setattr("reparam_core.search.curve_recipes", lambda *_: [RECIPE])
    page = whole(opened("trade_offs", bits="4", panel=panel))
    names = ("chart-bytes-by-kind", "chart-claims", "chart-tasks", "chart-confusion")
    drawn = [json.loads(one.proto.spec) for one in page.get("plotly_chart") if one.proto.id.endswith(names)]
    assert drawn
    assert all("rtn:4g64" in one["layout"]["meta"]["provenance"] for one in drawn)


def test_a_model_that_nothing_scores_still_has_its_lines() -> None:
    model = load("embedded-decoder")
    assert "--data" not in command_lines(model, RECIPE, None)
    assert python_lines(model, RECIPE, None).endswith("print(measure(setting))")


@pytest.mark.parametrize("recipe", ["svd:0.5 + rtn:4g64", "base", "gptq:4g128@sequential"])
def test_lines_are_short_where_the_short_form_says_it_all(recipe: str) -> None:
    assert as_typed(Recipe.parse(recipe).canonical) == recipe


@pytest.mark.parametrize("recipe", [
    {"rules": [{"where": "*.mlp.*", "bits": {"method": "rtn", "bits": 4}}]},
    {"rules": [{"sparsity": {"method": "wanda", "fraction": 0.5}}], "calibration": {"text": "addresses-train"}},
])  # fmt: skip
def test_what_the_short_form_does_not_say_is_in_json(recipe: dict[str, object]) -> None:
    asked = Recipe.parse(recipe).canonical
    assert Recipe.parse(as_typed(asked)).canonical == asked
    assert as_typed(asked).startswith("{")
