"""What a rewrite does to what stands out and to rounding: `python -m benchmarks.rewrites`.

SmolLM2 on 4 × 256 tokens of the mixture, which what reads text is fitted to as well. Each matrix is rounded alone, on the inputs that it has in the rewritten model.
"""

from collections.abc import Iterator
from statistics import median

from torch import Tensor

from benchmarks.engine import MODEL
from reparam_core.apply import Setting, apply, finished
from reparam_core.data import calibration
from reparam_core.measure.outliers import outliers
from reparam_core.models import load
from reparam_core.registry import transforms
from reparam_core.statistics import one_shot

ROUNDING = "rtn:4g64"
REWRITES = ("", *(f"{name} + " for name in transforms()))
KINDS = ("attention.q", "mlp.gate", "mlp.up", "mlp.down")


def lost(setting: Setting, roles: list[str], grams: dict[str, Tensor]) -> Iterator[tuple[float, float]]:
    """Of each matrix: which share of its own norm and of its output's norm rounding takes."""
    for role in roles:
        weight = setting.start.weight(role).float()
        change, gram = setting.form(role).dense().float() - weight, grams[role]
        own = change.norm() / weight.norm()
        output = (((change @ gram) * change).sum() / ((weight @ gram) * weight).sum()).sqrt()
        yield float(own), float(output)


def main() -> None:
    """A line a kind of matrix and rewrite: medians over layers."""
    model = load(MODEL)
    read = calibration(model, "mixture", 4, 256)
    for name in transforms():
        for row in outliers(apply(model, name, calibration=read), {"input_ids": read.ids}):
            told = " · ".join(f"{kind} {value:.1f}" for kind, value in row.items() if isinstance(value, float))
            print(f"stands out, {name}, {row['kind']}: {told}")
    for rewrite in REWRITES:
        setting = apply(model, rewrite + ROUNDING, calibration=read)
        every = [role for role in setting.forms if role.startswith("layers.")]
        grams = {role: one.gram.float() for role, one in finished(one_shot(setting.start, every, read)).items()}
        for kind in KINDS:
            found = list(lost(setting, [role for role in every if role.endswith(kind)], grams))
            own, output = (median(values) for values in zip(*found, strict=True))
            print(f"{rewrite + ROUNDING}, {kind}: {own:.1%} of its norm, {output:.1%} of its output's")


if __name__ == "__main__":
    main()
