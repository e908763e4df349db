"""Keys and values that attention keeps of the tokens before, in few bits."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from reparam_core.apply.setting import Setting
from reparam_core.errors import ReparamError
from reparam_core.models import Model
from reparam_core.parametrizations import Cached, Parametrization
from reparam_core.parametrizations.base import element_size
from reparam_core.recipes import Cache, Recipe

KEPT = re.compile(r"(?:decoder\.)?layers\.\d+\.(?:attention|cross)\.[kv]")


def cached_roles(model: Model) -> list[str]:
    """The matrices whose answers a cache keeps: every token's, or once those of the text that a decoder attends to."""
    return [role for role in model.matrices if KEPT.fullmatch(role)] if model.keeps_keys_and_values else []


def refuse_cache(model: Model, recipe: Recipe) -> None:
    """Raises ReparamError where the recipe speaks of a cache and the model keeps none."""
    if recipe.cache is not None and not cached_roles(model):
        raise ReparamError(f"{model.name} keeps no keys and values: it reads all of its tokens at once.",
                           "Leave the cache out of the recipe, or take a model that writes text.")  # fmt: skip


def with_cache(
    model: Model, forms: Mapping[str, Parametrization], cache: Cache | None, storage: torch.dtype
) -> dict[str, Parametrization]:
    """These forms, and those of every matrix whose answers are kept, which now round them."""
    if cache is None:
        return dict(forms)
    kept = {role: forms.get(role) or model.form(role).stored(storage) for role in cached_roles(model)}
    return {**forms, **{role: _cached(form, cache) for role, form in kept.items()}}


def _cached(form: Parametrization, cache: Cache) -> Cached:
    return Cached(form.inner if isinstance(form, Cached) else form, cache.bits, cache.group)


def cache_bytes(setting: Setting) -> float | None:
    """What the cache keeps of one token; None where there is none. What nothing rounds is kept in the file's dtype."""
    kept = [setting.form(role) for role in cached_roles(setting.model)]
    wide = element_size(setting.storage)
    return sum(one.bytes_per_token if isinstance(one, Cached) else one.shape[0] * wide for one in kept) or None
