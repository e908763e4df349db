"""Every method on one protocol, beside its authors' own code: `python -m benchmarks.methods [--only RECIPE …] [--write]`.

SmolLM2-135M-Instruct in float32, the matrices of the blocks; calibrated on 64 × 512 tokens of early addresses; perplexity is
exp of the mean loss over every position but a sequence's first. The reference figures were made with the same weights and
the same tokens (`protocol/`). What was measured is kept: a run that was cut off goes on where it stopped.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from benchmarks.__main__ import machine
from benchmarks.readme import FOLDER, put, table
from reparam_core.data import calibration
from reparam_core.measure import measured
from reparam_core.models import Model, load

MODEL = "smollm2-135m-instruct"
PROTOCOL = FOLDER / "protocol"
TEXTS = {"moby_dick": 16, "sotu_1850": 4}  # sequences of 512 tokens: out of the calibration's domain, and in it
ALLOWED = 1.02  # times the reference's perplexity
HEADING = ["recipe", "Moby Dick", "reference", "ratio", "Δ nll (95 %)", "addresses of 1850", "reference", "ratio", "MB",
           "prepare, s", "apply, s"]  # fmt: skip


@dataclass(frozen=True)
class Reference:
    """What the authors' own code gives, None where it was not run."""

    recipe: str
    moby_dick: float | None = None
    sotu_1850: float | None = None


REFERENCES = [
    Reference("base", 46.3, 31.7), Reference("svd:0.8p", 9.3e6), Reference("svd:0.6p", 41e6),
    Reference("magnitude:0.5", 712.7), Reference("random:0.5"), Reference("wanda:0.5"),
    Reference("wanda:0.5@sequential", 99.9, 67.4), Reference("sparsegpt:0.5"),
    Reference("sparsegpt:0.5@sequential", 112.5, 51.9), Reference("magnitude:2:4"),
    Reference("wanda:2:4@sequential", 277.3, 164.2), Reference("sparsegpt:2:4@sequential", 216.4, 76.1),
    Reference("rtn:4g32", 56.5), Reference("rtn:4g64", 58.5), Reference("rtn:4g128", 60.7), Reference("hqq:4g64", 54.0),
    Reference("gptq:4g128@sequential", 66.1, 41.0), Reference("awq:4g128"), Reference("smoothquant:8s"),
    Reference("rtn:3g64", 134.6), Reference("rtn:3g128", 182.1, 131.3), Reference("hqq:3g64", 317.6),
    Reference("gptq:3g128@sequential", 150.4, 86.9), Reference("awq:3g128"), Reference("fisher-svd:0.8p"),
    Reference("whitened-svd:0.8p"), Reference("whitened-svd:0.8p@sequential", 863.0, 69.3),
    Reference("whitened-svd:0.6p@sequential", 2042.2, 116.5),
]  # fmt: skip


@dataclass(frozen=True)
class Found:
    """One recipe on both texts."""

    recipe: str
    perplexity: dict[str, float]
    ratio: dict[str, float | None]  # against the reference
    delta_nll: dict[str, list[float] | None]
    bytes: int
    seconds: dict[str, float]

    def cells(self, reference: Reference) -> list[str]:
        """As the table shows it."""
        low_high = self.delta_nll["moby_dick"]
        interval = "–" if low_high is None else f"{low_high[0]:+.3f} to {low_high[1]:+.3f}"
        cells = [f"`{self.recipe}`"]
        for name in TEXTS:
            told, ratio = getattr(reference, name), self.ratio[name]
            cells += [f"{self.perplexity[name]:.4g}", "–" if told is None else f"{told:.4g}", _ratio(ratio)]
            cells += [interval] if name == "moby_dick" else []
        return [*cells, f"{self.bytes / 1e6:.1f}", f"{self.seconds['prepare']:.1f}", f"{self.seconds['apply']:.1f}"]


def _ratio(ratio: float | None) -> str:
    if ratio is None:
        return "no reference run"
    return f"{ratio:.3f}" if ratio <= ALLOWED else f"**{ratio:.3f}**"


def found(model: Model, reference: Reference) -> Found:
    """Measured, or from the store where it was measured before."""
    read = calibration(model, str(PROTOCOL / "calibration.npy"), 64, 512)
    each = {
        name: measured(model, reference.recipe, text=str(PROTOCOL / f"evaluation_{name}.npy"), sequences=count,
                       length=512, latency=False, with_tasks=False, calibration=read)
        for name, count in TEXTS.items()
    }  # fmt: skip
    told: dict[str, float | None] = {name: getattr(reference, name) for name in TEXTS}
    first: Any = next(iter(each.values()))  # the second finds what the first prepared
    return Found(
        reference.recipe, {name: one["perplexity"] for name, one in each.items()},
        {name: each[name]["perplexity"] / value if value else None for name, value in told.items()},
        {name: one["delta_nll_ci95"] for name, one in each.items()}, first["bytes"],
        {name: first["seconds"][name] for name in ("prepare", "apply")},
    )  # fmt: skip


def main() -> None:
    """Parse, measure, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[one.recipe for one in REFERENCES])
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    where, model, rows = machine(), load(MODEL), list[tuple[Reference, Found]]()
    print(where)
    for reference in REFERENCES:
        if reference.recipe in arguments.only:
            rows.append((reference, found(model, reference)))
            print(" | ".join(rows[-1][1].cells(reference)), flush=True)
    if arguments.write:
        now = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        kept = {"machine": where, "measured": now, "rows": [asdict(one) for _, one in rows]}
        (FOLDER / "methods.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        put("methods", f"Measured {now} on {where}.\n\n" + table(HEADING, [one.cells(told) for told, one in rows]))


if __name__ == "__main__":
    main()
