"""Spectra: singular values of any matrix, where to cut, and what the cut costs."""

import streamlit as st

from pages.components.charts import chart
from pages.components.controls import pick_model
from reparam_core.figures.spectra import als_convergence, rank_heatmap, spectrum
from reparam_core.measure.spectra import (
    break_even,
    entropy_rank,
    random_edge,
    relative_error,
    singular_values,
    stable_rank,
)
from reparam_core.methods.rank.als import ALS
from reparam_core.models import Model


@st.cache_data(max_entries=512, show_spinner=False)
def sigma_of(sha256: str, role: str, _model: Model) -> list[float]:
    """Singular values, once a matrix."""
    return singular_values(_model.weight(role)).tolist()


@st.cache_data(max_entries=32, show_spinner="Solving for each factor in turn …")
def als_losses(sha256: str, role: str, rank: int, _model: Model) -> list[float]:
    """The loss after every round."""
    return [loss for _, _, loss in ALS().rounds(_model.weight(role).float(), rank)]


def show_matrix(model: Model, role: str) -> None:
    """One matrix: spectrum, cut, and what it costs."""
    import torch

    sigma = torch.tensor(sigma_of(model.sha256, role, model), dtype=torch.float64)
    shape = model.matrices[role].shape
    even = break_even(shape)
    cut = st.slider("Cut at rank", 1, len(sigma), min(even, len(sigma)), key="cut", bind="query-params",
                    help="What lies right of the cut is dropped. Try the break-even rank.")  # fmt: skip
    kept = cut * sum(shape) / (shape[0] * shape[1])
    error, parameters, stable, effective = st.columns(4)
    error.metric(
        "Relative error", f"{relative_error(sigma, cut):.1%}", help="‖W − W_r‖ / ‖W‖ of the best rank-r matrix"
    )
    parameters.metric("Numbers kept", f"{kept:.2f}×", "a loss: above break-even" if kept > 1 else f"break-even at rank {even}",
                      delta_color="inverse" if kept > 1 else "off")  # fmt: skip
    stable.metric("Stable rank", f"{stable_rank(sigma):.1f}", help="‖W‖²_F / σ₁²")
    effective.metric("Entropy rank", f"{entropy_rank(sigma):.0f}", f"of {len(sigma)}", delta_color="off")
    provenance = f"{model.name} · {role}, {shape[0]} × {shape[1]}"
    left, right = st.columns([3, 2])
    with left:
        chart(spectrum(sigma.tolist(), cut, random_edge(model.weight(role)), provenance), "spectrum")
    with right:
        losses = als_losses(model.sha256, role, cut, model)
        chart(als_convergence(losses, relative_error(sigma, cut) ** 2, provenance), "als")


def show_layers(model: Model) -> None:
    """A rank of every matrix of the blocks, layer by kind."""
    import torch

    roles = [role for role, one in model.matrices.items() if one.compressed_by_default]
    kinds = sorted({".".join(role.split(".")[-2:]) for role in roles})
    layers = list(dict.fromkeys(role.rsplit(".", 2)[0] for role in roles))
    progress = st.progress(0.0, "Singular values of every matrix, once")
    share: dict[str, float] = {}
    for index, role in enumerate(roles):
        sigma = torch.tensor(sigma_of(model.sha256, role, model), dtype=torch.float64)
        share[role] = entropy_rank(sigma) / len(sigma)
        progress.progress((index + 1) / len(roles))
    progress.empty()
    values = [[share.get(f"{layer}.{kind}", float("nan")) for kind in kinds] for layer in layers]
    chart(rank_heatmap(values, layers, kinds, "Entropy rank as a share of full rank", model.name), "ranks")


def page() -> None:
    """Which matrix, then its spectrum; or all of them."""
    st.title("Spectra")
    model = pick_model()
    roles = [role for role, one in model.matrices.items() if min(one.shape) > 1]
    first = next(index for index, role in enumerate(roles) if model.matrices[role].compressed_by_default)
    with st.sidebar:
        role = st.selectbox("Matrix", roles, first, key="role", bind="query-params", help="Roles, not module names.")
    one, every = st.tabs(["One matrix", "All layers"])
    with one:
        show_matrix(model, role)
    with every:
        if st.toggle("Compute every matrix", help="A few seconds for the small models, half a minute for SmolLM2."):
            show_layers(model)


page()
