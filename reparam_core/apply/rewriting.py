"""What stands first in a recipe: the model in other numbers that compute the same, on which the rules then work."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from reparam_core.errors import ReparamError
from reparam_core.methods.rewriting import Network, Norm, Transform
from reparam_core.models import Model
from reparam_core.models.model import structural_clone
from reparam_core.models.wiring import map_of, norm_of, put_behind, wiring
from reparam_core.recipes import Recipe
from reparam_core.registry import transforms
from reparam_core.store import key

KEPT = 2  # rewritten models in memory: each is a copy of the weights
_made: OrderedDict[str, Model] = OrderedDict()
_making = threading.Lock()


def refuse(model: Model, transforms: Sequence[Transform]) -> None:
    """Raises ReparamError where one of them could not keep the model's function."""
    if transforms:
        network = network_of(model)
        for one in transforms:
            one.refuse(network)


def suited(model: Model) -> list[str]:
    """The names of the rewrites that keep this model's function; found out once."""
    if "suited" not in model.known:
        model.known["suited"] = [name for name, kind in transforms().items() if _keeps(model, kind())]
    found: list[str] = model.known["suited"]
    return found


def _keeps(model: Model, transform: Transform) -> bool:
    try:
        refuse(model, [transform])
    except ReparamError:
        return False
    return True


def rewritten(model: Model, recipe: Recipe) -> Model:
    """The model that the recipe's rules start from: itself, or what the transforms make of it, the last few kept.

    Its numbers are float32, as no rewrite is exact in fewer bits: what the file keeps is rounded once, after the rules.
    """
    if not recipe.transform:
        return model
    name = key(rewritten=model.sha256, transform=[one.identity() for one in recipe.transform])
    with _making:
        if name not in _made:
            _made[name] = _rewritten(model, recipe.transform, name)
        _made.move_to_end(name)
        while len(_made) > KEPT:
            _made.popitem(last=False)
        return _made[name]


def network_of(model: Model) -> Network:
    """The model's numbers as rewrites see them: views, nothing is copied. Raises ReparamError where none would keep it."""
    wires = wiring(model)
    modules = {role: model.module.get_submodule(one.module) for role, one in model.matrices.items()}
    return Network(
        {role: model.weight(role) for role in model.matrices},
        {role: bias.detach() for role, one in modules.items() if isinstance(bias := getattr(one, "bias", None), Tensor)},
        {path: _norm(model.module, path, wires.family.shift, readers) for path, readers in wires.norms.items()},
        "embedding", wires.writers, wires.values, model.head_width("layers.0.attention.v") or 1, wires.family.inner,
    )  # fmt: skip


def _norm(module: nn.Module, path: str, shift: float, readers: Iterable[str]) -> Norm:
    behind = map_of(module, path)
    gain = _weight(norm_of(module, path)) + shift
    return Norm(gain, tuple(readers), None if behind is None else _weight(behind))


def _weight(module: nn.Module) -> Tensor:
    assert isinstance(module.weight, Tensor)
    return module.weight.detach()


def _rewritten(model: Model, transforms: Iterable[Transform], name: str) -> Model:
    before = after = network_of(model)
    for one in transforms:
        after = one.rewrite(after)
    module = structural_clone(model.module)
    for role in [role for role, weight in after.weights.items() if weight is not before.weights[role]]:
        shared = _parameter(after.weights[role])
        for path in model.users(role):
            module.get_submodule(path).weight = shared
    for role, bias in after.biases.items():
        module.get_submodule(model.matrices[role].module).bias = _parameter(bias)
    shift = wiring(model).family.shift
    for path, norm in after.norms.items():
        norm_of(module, path).weight = _parameter(norm.gain - shift)
        if norm.behind is not None:
            put_behind(module, path, len(norm.gain)).weight = _parameter(norm.behind)
    return replace(model, module=module, sha256=name, storage=torch.float32, packed={}, known={}, _bases={},
                   _lock=threading.RLock())  # fmt: skip


def _parameter(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.float().contiguous(), requires_grad=False)
