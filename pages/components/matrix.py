"""Which matrix, by kind and layer."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from reparam_core.measure.spectra import by_kind, kind_and_layer
from reparam_core.models import Model


def pick_matrix(model: Model, roles: Sequence[str]) -> str:
    """Of these, by kind and layer; its role is what the address holds."""
    role = str(st.session_state.get("role") or st.query_params.get("role"))
    if role not in roles:
        role = next((one for one in roles if model.matrices[one].compressed_by_default), roles[0])
    st.session_state["role"] = role
    if st.query_params.get("role") != role:  # each time it is set, a slider's newer place in the address is lost
        st.query_params["role"] = role
    kinds, (kind, layer) = by_kind(roles), kind_and_layer(role)
    layers = [one for one in kinds[kind] if one is not None]
    st.session_state["matrix_kind"] = kind
    st.session_state["matrix_layer"] = layer or 0
    left, right = st.columns([3, 2])
    left.selectbox("Matrix", list(kinds), key="matrix_kind", on_change=_matrix_chosen, args=(kinds,),
                   help="Which kind of matrix, by its role. Try mlp.down beside attention.q.")  # fmt: skip
    right.number_input("Layer", min(layers, default=0), max(layers, default=0), key="matrix_layer", disabled=not layers,
                       on_change=_matrix_chosen, args=(kinds,), help="The first layer is 0.")  # fmt: skip
    return role


def _matrix_chosen(kinds: dict[str, dict[int | None, str]]) -> None:
    """The matrix of the chosen kind in the chosen layer, or in the nearest that has one."""
    layers = kinds[st.session_state["matrix_kind"]]
    wanted = st.session_state["matrix_layer"]
    st.session_state["role"] = layers[min(layers, key=lambda one: abs((one or 0) - wanted))]


def matrix_clicked(name: str) -> None:
    """A click on a point of the chart of that name selects its matrix; the page draws its controls again for it."""
    chosen = st.session_state[f"chart-{name}"]["selection"]["points"]
    if chosen and chosen[0].get("customdata"):
        st.session_state.update(role=str(chosen[0]["customdata"][0]), picked=True)
