"""Each matrix gets what the model's loss asks for: settings by marginal gain in a second-order estimate of that loss."""

from collections.abc import Generator, Mapping
from typing import Any, ClassVar

from reparam_core import registry
from reparam_core.methods.base import SEPARATOR, Method, shape_of, statistics_of
from reparam_core.methods.settings import BitsSetting, RankSetting, Setting, SparsitySetting
from reparam_core.parametrizations import Leaf
from reparam_core.splits.base import Prepared, Split
from reparam_core.splits.budget import Option, least_loss
from reparam_core.splits.second_order import second_order

Shape = tuple[int, int]
Ladder = list[tuple[Setting, int]]  # a setting and what it costs: the one that was asked first
STAND_INS = {"rank": "whitened-svd", "sparsity": "wanda", "bits": "rtn"}
STEPS = [sign * step / 20 for step in range(1, 5) for sign in (-1, 1)]  # a fifth less to a fifth more


@registry.register_split
class Loss(Split):
    """Minimises ½ Σ_i Σ_o F_io / tr G_i · δ_io G_i δ_ioᵀ at the numbers, or the bits, that the one setting would keep.

    δ_i is what the method itself makes of matrix i; of a method that searches for every setting, what a quick one of its
    axis makes: rounding to the nearest, Wanda, the whitened SVD. The options stay near what was asked, as OWL's do (Yin et
    al., 2023): a bit, a fifth of all numbers zeroed, a fifth of the rank. Such an estimate is several times too large, but
    orders the settings of a model as measurements do; it weighs inputs and gradients as K-FAC (Martens and Grosse, 2015).
    It wins for sparsity and rank and at 4 bits, but nothing at 3 bits (`docs/decisions.md`).
    """

    name: ClassVar[str] = "loss"
    axes: ClassVar[tuple[str, ...]] = registry.AXES
    summary: ClassVar[str] = "spares what the model's loss would miss"
    formula: ClassVar[str] = (
        r"\min\tfrac12\sum_i\sum_o\frac{F_{io}}{\operatorname{tr}G_i}\,\delta_{io}G_i\delta_{io}^\top"
        r",\quad\delta_i=W_i'-W_i\\ \text{with as many numbers and bits as before}"
    )
    needs: ClassVar[frozenset[str]] = frozenset({"gram", "gradients"})

    def unsuited(self, method: Method) -> str | None:
        single = method.axis == "bits" and len(type(method).widths) == 1
        return super().unsuited(method) or ("it has one width alone" if single else None)

    def reads_prepared(self, method: Method) -> bool:
        return method.instant

    def settings(
        self, method: Method, setting: Setting, leaves: Mapping[str, Leaf], prepared: Prepared
    ) -> Generator[float, None, dict[str, Setting]]:
        options: dict[str, list[Option[Setting]]] = {}
        for index, (role, leaf) in enumerate(leaves.items()):
            yield index / len(leaves)
            options[role] = _options(method, setting, role, leaf, prepared)
        same = {role: found[0] for role, found in options.items()}
        chosen = least_loss(options, sum(one.cost for one in same.values()))
        lost = sum(one.loss for role, found in options.items() for one in found if one.what == chosen[role])
        worse = lost > sum(one.loss for one in same.values())  # the last step of the budget may have found no taker
        return {role: one.what for role, one in same.items()} if worse else chosen


def _options(method: Method, setting: Setting, role: str, leaf: Leaf, prepared: Prepared) -> list[Option[Setting]]:
    """What the matrix loses and costs at every setting near the one asked, which is first."""
    tried = method if method.instant else registry.method(STAND_INS[method.axis])()
    name = f"{role}{SEPARATOR}{leaf.path}"
    made = dict(prepared(role)) if tried is method else tried.prepare({name: leaf})
    known, found = statistics_of(leaf), []
    for one, cost in LADDERS[method.axis](method, setting, shape_of(leaf)):
        change = tried.at(made, {name: leaf}, one)[name].dense() - leaf.weight
        found.append(Option(one, second_order(change, known), cost))
    return found


def _widths(method: Method, setting: BitsSetting, shape: Shape) -> Ladder:
    """One bit less and one bit more, where the method has them."""
    near = [width for width in (setting.bits, setting.bits - 1, setting.bits + 1) if width in type(method).widths]
    return [(setting.model_copy(update={"bits": width}), width * shape[0] * shape[1]) for width in near]


def _fractions(_method: Method, setting: SparsitySetting, shape: Shape) -> Ladder:
    """A fifth of all numbers less and more zeroed, in steps of a twentieth."""
    asked = setting.fraction or 0.0
    near = [asked, *(asked + step for step in STEPS if 0 < asked + step < 1)]
    return [(setting.model_copy(update={"fraction": one}), shape[0] * (shape[1] - int(one * shape[1]))) for one in near]


def _ranks(_method: Method, setting: RankSetting, shape: Shape) -> Ladder:
    """A fifth of the rank less and more, where the factors hold no more than the matrix."""
    asked = setting.resolve(shape)
    most = max(asked, shape[0] * shape[1] // sum(shape))
    near = [asked, *(min(most, max(1, round(asked * (1 + step)))) for step in STEPS)]
    return [(RankSetting(rank=rank), rank * sum(shape)) for rank in dict.fromkeys(near)]


LADDERS: dict[str, Any] = {"rank": _ranks, "sparsity": _fractions, "bits": _widths}
