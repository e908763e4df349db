"""Task accuracies beside the base and the commonest answer."""

import numpy as np
import pytest

from reparam_core import apply, base, load
from reparam_core.data import table
from reparam_core.data.labelled import parsed
from reparam_core.measure.evaluation import LABELLED, evaluation
from reparam_core.measure.quality import quality
from reparam_core.measure.tasks import TASKS, task_report, task_steps, tasks, tasks_of
from reparam_core.models import Model

KEYS = {"n", "accuracy", "accuracy_ci95", "base_accuracy", "delta_ci95", "majority"}


@pytest.fixture(scope="module")
def dates() -> Model:
    return load("embedded-seq2seq")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few questions of each task are enough to see how they are told."""
    monkeypatch.setitem(TASKS, "seq2seq", {"dates": 40})
    monkeypatch.setitem(TASKS, "causal", {"state-capitals": 20, "last-words": 8})


@pytest.mark.usefixtures("few")
def test_a_report_says_what_the_contract_asks(dates: Model) -> None:
    (report,) = tasks(apply(dates, "rtn:3")).values()
    assert set(report) >= KEYS
    assert report["n"] == 40
    answers = quality(apply(dates, "rtn:3"), evaluation(dates, "dates", 40)).setting.right
    assert report["accuracy"] == pytest.approx(float(answers.double().mean()))
    low, high = report["accuracy_ci95"]
    assert 0 <= low <= report["accuracy"] <= high <= 1
    low, high = report["delta_ci95"]
    assert low <= report["accuracy"] - report["base_accuracy"] <= high


@pytest.mark.usefixtures("few")
def test_the_base_is_no_different_from_itself(dates: Model) -> None:
    (report,) = tasks(base(dates)).values()
    assert report["accuracy"] == report["base_accuracy"]
    assert report["delta_ci95"] == [0, 0]


@pytest.mark.usefixtures("few")
def test_steps_end_where_the_whole_ends() -> None:
    model = load("embedded-decoder")
    setting = apply(model, "magnitude:0.3")
    steps = list(task_steps(setting))
    assert [one["state-capitals"]["n"] for one in steps[:2]] == [7, 14]
    assert list(steps[-1]) == ["state-capitals", "last-words"]
    whole = tasks(setting)
    for name, report in steps[-1].items():
        assert {key: report[key] for key in KEYS} == {key: whole[name][key] for key in KEYS}
        assert report["final"]
    assert whole["last-words"]["accuracy_ci95"] is None  # eight answers say nothing


def test_the_majority_answers_the_commonest_label_or_place() -> None:
    shared = parsed("text,label\n" + "\n".join(f"a{i},{label}" for i, label in enumerate("xxxyz")), "t")
    assert shared.majority == 0.6
    own = table("state-capitals")
    places = [row.choices.index(row.answer) for row in own.rows]
    assert own.majority == max(np.bincount(places)) / len(places)
    assert table("movie-reviews").majority == pytest.approx(0.5, abs=0.05)


def test_every_task_suits_its_objective() -> None:
    for name in ("embedded-decoder", "embedded-seq2seq"):
        model = load(name)
        assert set(tasks_of(model)) == set(TASKS[model.objective])
        assert model.objective in LABELLED
    assert tasks_of(load("embedded-encoder-pretrained")) == {}


def test_a_report_of_choices_without_common_labels_has_no_matrix() -> None:
    found = task_report(
        quality(base(load("embedded-decoder")), evaluation(load("embedded-decoder"), "state-capitals", 4))
    )
    assert (found["confusion"], found["labels"]) == (None, [])
