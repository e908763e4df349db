"""What stands first in a recipe: the model in other numbers that compute the same, on which the rules then work."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from reparam_core.apply.returning import finished
from reparam_core.data import Sequences
from reparam_core.errors import ReparamError
from reparam_core.methods.rewriting import Network, Norm, Transform
from reparam_core.models import Model
from reparam_core.models.model import structural_clone
from reparam_core.models.wiring import map_of, norm_of, put_behind, wiring
from reparam_core.recipes import Recipe
from reparam_core.registry import transforms
from reparam_core.statistics import one_shot
from reparam_core.store import key

Rewriting = Generator[tuple[float, str], None, Model]
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


def rewritten(model: Model, recipe: Recipe, read: Sequences | None = None) -> Model:
    """The model that the recipe's rules start from, made at once."""
    return finished(rewriting(model, recipe, read))


def rewriting(model: Model, recipe: Recipe, read: Sequences | None) -> Rewriting:
    """The model that the recipe's rules start from: itself, or what the transforms make of it, the last few kept.

    Its numbers are float32, as no rewrite is exact in fewer bits: what the file keeps is rounded once, after the rules.
    Yields how much is done where a transform reads the calibration text, of the inputs that the ones before it leave.
    """
    if not recipe.transform:
        return model
    name = _name(model, recipe.transform, read)
    found = _made.get(name)
    if found is None:
        found = model
        for count, one in enumerate(recipe.transform, 1):
            found = yield from _after(found, one, _name(model, recipe.transform[:count], read), read)
    return _kept(name, found)


def _name(model: Model, transforms: Sequence[Transform], read: Sequences | None) -> str:
    """The hash of what these transforms make of the model; the text belongs to it where one of them reads it."""
    told = read.provenance() if read is not None and any(one.needs for one in transforms) else None
    return key(rewritten=model.sha256, transform=[one.identity() for one in transforms],
               **({"calibration": told} if told else {}))  # fmt: skip


def _kept(name: str, found: Model) -> Model:
    """The one that was made first, so that all who ask share it; only the last few that were asked for stay."""
    with _making:
        found = _made.setdefault(name, found)
        _made.move_to_end(name)
        while len(_made) > KEPT:
            _made.popitem(last=False)
        return found


def _after(model: Model, transform: Transform, name: str, read: Sequences | None) -> Rewriting:
    """The model under one transform, which is told what it needs to know of the inputs."""
    network = network_of(model)
    if transform.needs:
        assert read is not None
        roles = [role for role in network.weights if role != network.embedding]
        known = yield from one_shot(model, roles, read)
        network = replace(network, peaks={role: one.peak for role, one in known.items()})
    return _with(model, network, transform.rewrite(network), name)


def network_of(model: Model) -> Network:
    """The model's numbers as rewrites see them: views, nothing is copied. Raises ReparamError where none would keep it."""
    wires = wiring(model)
    modules = {role: model.module.get_submodule(one.module) for role, one in model.matrices.items()}
    return Network(
        {role: model.weight(role) for role in model.matrices},
        {role: bias.detach() for role, one in modules.items() if isinstance(bias := getattr(one, "bias", None), Tensor)},
        {path: _norm(model.module, path, wires.family.shift, readers) for path, readers in wires.norms.items()},
        "embedding", wires.writers, wires.values, wires.gated, model.head_width("layers.0.attention.v") or 1, wires.family.inner,
    )  # fmt: skip


def _norm(module: nn.Module, path: str, shift: float, readers: Iterable[str]) -> Norm:
    behind = map_of(module, path)
    gain = _weight(norm_of(module, path)) + shift
    return Norm(gain, tuple(readers), None if behind is None else _weight(behind))


def _weight(module: nn.Module) -> Tensor:
    assert isinstance(module.weight, Tensor)
    return module.weight.detach()


def _with(model: Model, before: Network, after: Network, name: str) -> Model:
    """A model of that hash with the numbers that changed."""
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
