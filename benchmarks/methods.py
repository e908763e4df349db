"""Every method on one protocol, beside its authors' own code: `python -m benchmarks.methods [--only RECIPE …] [--write]`.

SmolLM2-135M-Instruct in float32, the matrices of the blocks; calibrated on 64 × 512 tokens of early addresses; perplexity is
exp of the mean loss over every position but a sequence's first. The reference figures were made with the same weights and
the same tokens (`protocol/`). What was measured is kept: a run that was cut off goes on where it stopped.
"""

import argparse
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from benchmarks.__main__ import machine
from benchmarks.readme import FOLDER, put, table
from reparam_core.data import calibration
from reparam_core.data.cards import MEASURED, Run, protocol, runs
from reparam_core.measure import measured
from reparam_core.models import Model, load
from reparam_core.recipes import Recipe

MODEL = "smollm2-135m-instruct"
PROTOCOL = FOLDER / "protocol"
ALLOWED = 1.02  # times the reference's perplexity
HEADING = ["recipe", "Moby Dick", "reference", "ratio", "Δ nll (95 %)", "addresses of 1850", "reference", "ratio", "MB",
           "prepare, s", "apply, s", "measured"]  # fmt: skip


def cells(run: Run, row: dict[str, Any]) -> list[str]:
    """As the table shows it."""
    shown = [f"`{run.recipe}`"]
    for text in protocol()["texts"]:
        told, ratio, interval = run.reference.get(text), run.ratio(text), row["delta_nll"][text]
        shown += [f"{row['perplexity'][text]:.4g}", "–" if told is None else f"{told:.4g}", _ratio(ratio)]
        if text == "moby_dick":
            shown.append("–" if interval is None else f"{interval[0]:+.3f} to {interval[1]:+.3f}")
    seconds = row["seconds"]
    return [
        *shown,
        f"{row['bytes'] / 1e6:.1f}",
        f"{seconds['prepare']:.1f}",
        f"{seconds['apply']:.1f}",
        row["measured"][:10],
    ]


def _ratio(ratio: float | None) -> str:
    if ratio is None:
        return "no reference run"
    return f"{ratio:.3f}" if ratio <= ALLOWED else f"**{ratio:.3f}**"


def measured_on_protocol(model: Model, recipe: str) -> dict[str, Any]:
    """Measured, or from the store where it was measured before."""
    read = calibration(model, str(PROTOCOL / "calibration.npy"), 64, 512)
    each: dict[str, Any] = {
        name: measured(model, recipe, text=str(PROTOCOL / f"evaluation_{name}.npy"), sequences=told["sequences"],
                       length=512, latency=False, with_tasks=False, calibration=read)
        for name, told in protocol()["texts"].items()
    }  # fmt: skip
    first = next(iter(each.values()))  # the second finds what the first prepared
    return {
        "recipe": recipe, "canonical": Recipe.parse(recipe).canonical, "perplexity": {name: one["perplexity"] for name, one in each.items()},
        "delta_nll": {name: one["delta_nll_ci95"] for name, one in each.items()}, "bytes": first["bytes"],
        "seconds": {name: first["seconds"][name] for name in ("prepare", "apply")},
        "measured": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "machine": machine(),
    }  # fmt: skip


def write(rows: list[dict[str, Any]]) -> None:
    """Beside what was measured before, in the order of the references: cards and README show all of it."""
    kept = {row["recipe"]: row for row in [*json.loads(MEASURED.read_text(encoding="utf-8"))["rows"], *rows]}
    ordered = [kept[run.recipe] for run in runs() if run.recipe in kept]
    MEASURED.write_text(json.dumps({"rows": ordered}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    put("methods", table(HEADING, [cells(run, kept[run.recipe]) for run in runs() if run.recipe in kept]))


def main() -> None:
    """Parse, measure, tell; what is measured is written as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[run.recipe for run in runs()])
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    model = load(MODEL)
    print(machine())
    for recipe in arguments.only:
        row = measured_on_protocol(model, recipe)
        told = next((run for run in runs() if run.recipe == recipe), Run(recipe, {}, {}, {}, ""))
        print(" | ".join(cells(replace(told, perplexity=row["perplexity"]), row)), flush=True)
        if arguments.write:
            write([row])


if __name__ == "__main__":
    main()
