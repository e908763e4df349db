"""A loaded model: shared by every session and never written to."""

from __future__ import annotations

import copy
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from reparam_core.models.architectures import INTERLEAVED, Place, places
from reparam_core.parametrizations import Dense, Parametrization


@dataclass(frozen=True)
class Matrix:
    """One matrix of the model, whatever the architecture calls it."""

    role: str
    module: str
    shape: tuple[int, int]  # (out_features, in_features)
    kind: str  # linear | embedding
    tied: tuple[str, ...]  # other modules that use the same numbers
    part: int = 0
    parts: int = 1  # above 1: one of so many projections fused in one module

    @property
    def parameters(self) -> int:
        """Numbers in the matrix."""
        return self.shape[0] * self.shape[1]

    @property
    def compressed_by_default(self) -> bool:
        """Attention, cross-attention and MLP of the blocks: what a rule without `where` means."""
        return "layers." in self.role and not self.role.startswith("other.")


@dataclass
class Model:
    """A transformer with its matrices under canonical roles."""

    name: str
    module: nn.Module  # float32, values as stored, shared
    tokenizer: Any
    directory: Path
    sha256: str
    storage: torch.dtype
    objective: str  # causal | masked | classification | seq2seq | encoder
    source_bits: int | None = None
    packed: dict[str, Parametrization] = field(default_factory=dict)  # forms that a packed folder holds
    known: dict[Any, Any] = field(default_factory=dict)  # what was found out about it, kept as long as it is
    _bases: dict[torch.dtype, nn.Module] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def config(self) -> Any:
        """The transformers configuration."""
        return self.module.config

    @property
    def architecture(self) -> str:
        """Such as `llama`."""
        return str(self.config.model_type)

    @property
    def writes_text(self) -> bool:
        """Does it go on with whatever text, so that it can write one of its own?"""
        return self.objective == "causal"

    @property
    def keeps_keys_and_values(self) -> bool:
        """Does it write token by token, so that it keeps what attention made of the tokens before?"""
        return self.objective in ("causal", "seq2seq")

    @cached_property
    def matrices(self) -> dict[str, Matrix]:
        """Every matrix by role, tied ones once, in the order of the modules."""
        return _find_matrices(self.module, self.architecture)

    @cached_property
    def parameters(self) -> int:
        """Numbers in the model, tied ones once."""
        rest = sum(tensor.numel() for tensor in self.rest().values() if tensor.is_floating_point())
        return rest + sum(self.form(role).parameters_kept for role in self.matrices)

    @cached_property
    def layers(self) -> int:
        """Blocks of one stack, as the roles count them."""
        numbers = [int(found.group(1)) for role in self.matrices if (found := re.search(r"layers\.(\d+)\.", role))]
        return max(numbers, default=-1) + 1

    def weight(self, role: str) -> Tensor:
        """W (out, in), float32: a view of the shared numbers where there is one, not to be written to."""
        if role in self.packed:
            return self.packed[role].dense()
        return self.part(role, _plain(self.module.get_submodule(self.matrices[role].module)).detach())

    def head_width(self, role: str) -> int | None:
        """Rows of q that make one attention head, for a matrix of an attention block; None elsewhere."""
        q = self.matrices.get(f"{role.rpartition('.')[0]}.q")
        return None if q is None else q.shape[0] // int(self.config.num_attention_heads)

    def part(self, role: str, whole: Tensor) -> Tensor:
        """The role's own rows (out, in) of what is laid out as the weight of its module: that, or its gradient."""
        matrix = self.matrices[role]
        if isinstance(self.module.get_submodule(matrix.module), Conv1D):
            whole = whole.T
        return whole if matrix.parts == 1 else whole[_rows(matrix, self.config)]

    def form(self, role: str) -> Parametrization:
        """The matrix in the form that the checkpoint holds."""
        return self.packed[role] if role in self.packed else Dense(self.weight(role), self.storage)

    def module_in(self, dtype: torch.dtype) -> nn.Module:
        """The base computed in that dtype, made once and shared."""
        with self._lock:
            if dtype == torch.float32:
                return self.module
            if dtype not in self._bases:
                self._bases[dtype] = copy.deepcopy(self.module).to(dtype)
            return self._bases[dtype]

    def clone(
        self,
        forms: Mapping[str, Parametrization],
        dtype: torch.dtype = torch.float32,
        storage: torch.dtype | None = None,
    ) -> nn.Module:
        """The model with these matrices in another form; every other number is shared with the base.

        Where the file keeps another dtype than the checkpoint, the other numbers are rounded to that, in a copy.
        """
        module = structural_clone(self.module_in(dtype))
        if storage not in (None, self.storage):
            _round_parameters(module, storage)
            self.install(module, {role: form.stored(storage) for role, form in self._as_forms.items()})
        self.install(module, forms)
        return module

    def install(self, clone: nn.Module, forms: Mapping[str, Parametrization]) -> None:
        """Put these forms in the place of a clone's matrices."""
        for path in dict.fromkeys(path for role in forms for path in self.users(role)):
            replace_module(clone, path, self._adapter(clone.get_submodule(path), path, forms))

    def adopt(self, forms: Mapping[str, Parametrization]) -> None:
        """While loading: let the checkpoint be these forms, and the shared module compute with their values."""
        for role, form in forms.items():
            matrix = self.matrices[role]
            module = self.module.get_submodule(matrix.module)
            whole = _plain(module).data.T if isinstance(module, Conv1D) else _plain(module).data
            whole[slice(None) if matrix.parts == 1 else _rows(matrix, self.config)] = form.dense()
        self.packed = dict(forms)
        self.install(self.module, self._as_forms)

    @property
    def _as_forms(self) -> dict[str, Parametrization]:
        """What of a packed folder no ordinary module computes."""
        return {role: form for role, form in self.packed.items() if not form.exact}

    def rest(self) -> dict[str, Tensor]:
        """Every tensor of the file that is no matrix of a role, once."""
        taken = {f"{path}.weight" for role in self.matrices for path in self.users(role)}
        seen: set[int] = set()
        kept: dict[str, Tensor] = {}
        for name, tensor in self.module.state_dict().items():
            if name in taken or tensor.data_ptr() in seen:
                continue
            seen.add(tensor.data_ptr())
            kept[name] = tensor
        return kept

    def encode(self, text: str) -> list[int]:
        """Token ids, without special tokens unless the tokenizer always adds them."""
        return list(self.tokenizer.encode(text, add_special_tokens=False, verbose=False))

    def users(self, role: str) -> tuple[str, ...]:
        """The modules that use the matrix, its own first."""
        return (self.matrices[role].module, *self.matrices[role].tied)

    def _adapter(self, old: nn.Module, path: str, forms: Mapping[str, Parametrization]) -> nn.Module:
        parts = [matrix for matrix in self.matrices.values() if path in (matrix.module, *matrix.tied)]
        chosen = [forms.get(one.role) or self.form(one.role) for one in parts]
        if len(parts) > 1:
            rows = torch.cat([_rows(one, self.config) for one in parts])
            return Fused(chosen, _bias(old), rows.argsort())
        if isinstance(old, nn.Embedding):
            return _embedding(old, chosen[0])
        return Projection(chosen[0], _bias(old), _plain(old).dtype)


class Adapter(nn.Module, ABC):
    """What stands in the place of a module that multiplies."""

    @abstractmethod
    def dense(self) -> Tensor:
        """The matrix that it multiplies with, (out, in), float32."""

    def linear(self) -> nn.Linear:
        """The ordinary module that answers the same where no form rounds what it is given, or what it answers."""
        weight = self.dense()
        plain = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
        plain.weight = nn.Parameter(weight, requires_grad=False)
        plain.bias = nn.Parameter(self(torch.zeros(1, weight.shape[1]))[0], requires_grad=False)
        return plain


class Projection(Adapter):
    """A weight in some form with the module's own bias."""

    def __init__(self, form: Parametrization, bias: Tensor | None, dtype: torch.dtype) -> None:
        super().__init__()
        self.form, self.bias, self.dtype = form, bias, dtype

    @property
    def weight(self) -> Tensor:
        """Empty: some architectures (T5) ask a projection for its weight's dtype."""
        return torch.empty(0, dtype=self.dtype)

    def dense(self) -> Tensor:
        return self.form.dense()

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.form, Dense):  # one call, as nn.Linear makes it: the same bits
            return nn.functional.linear(x, self.form._materialized(x.dtype), self.bias)
        y: Tensor = self.form(x)
        return y if self.bias is None else y + self.bias


class Lookup(nn.Module):
    """An embedding whose rows come from a form."""

    def __init__(self, form: Parametrization, dtype: torch.dtype) -> None:
        super().__init__()
        self.form, self.dtype = form, dtype

    def forward(self, ids: Tensor) -> Tensor:
        return self.form.lookup(ids, self.dtype)


class Fused(Adapter):
    """Projections in forms of their own, answered as the one module that the architecture expects."""

    def __init__(self, forms: list[Parametrization], bias: Tensor | None, order: Tensor) -> None:
        super().__init__()
        self.forms, self.bias, self.order = nn.ModuleList(forms), bias, order

    def dense(self) -> Tensor:
        return torch.cat([form.dense() for form in self.forms if isinstance(form, Parametrization)])[self.order]

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([form(x) for form in self.forms], dim=-1)[..., self.order]
        return y if self.bias is None else y + self.bias


def structural_clone(module: nn.Module) -> nn.Module:
    """A copy of the module tree in which every parameter and buffer is the very same: milliseconds, no memory."""
    twins: dict[int, Any] = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    parts = list(module.modules())
    twins |= {id(one): one.__new__(type(one)) for one in parts}
    for one in parts:
        vars(twins[id(one)]).update({name: _twin(value, twins) for name, value in vars(one).items()})
    copied: nn.Module = twins[id(module)]
    return copied


def _twin(value: Any, twins: dict[int, Any]) -> Any:
    """An attribute's copy; most are plain values or empty tables of hooks, and need no search for what they hold."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict | set) and not value:
        return type(value)()
    return copy.deepcopy(value, twins)


def _round_parameters(module: nn.Module, storage: torch.dtype | None) -> None:
    """Put copies rounded to `storage` in the place of a clone's parameters."""
    for part in module.modules():
        for name, value in list(part._parameters.items()):
            if value is not None and value.is_floating_point():
                part._parameters[name] = nn.Parameter(value.detach().to(storage).to(value.dtype), requires_grad=False)


def replace_module(root: nn.Module, path: str, new: nn.Module) -> None:
    """Put `new` where `path` is."""
    parent, _, name = path.rpartition(".")
    setattr(root.get_submodule(parent), name, new)


def logits_of(answer: Any) -> Tensor:
    """(rows, positions or none, classes) of what a head answers; one for pretraining calls them otherwise."""
    logits: Tensor = answer["logits"] if "logits" in answer else answer["prediction_logits"]
    return logits


def _plain(module: nn.Module) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight


def _bias(module: nn.Module) -> Tensor | None:
    bias = getattr(module, "bias", None)
    return bias if isinstance(bias, Tensor) else None


def _embedding(old: nn.Embedding, form: Parametrization) -> nn.Module:
    if type(old) is nn.Embedding:
        return Lookup(form, old.weight.dtype)
    new = copy.copy(old)  # a subclass scales or shifts: it keeps its own forward and gets other numbers
    new._parameters = dict(old._parameters)
    new.weight = nn.Parameter(form.dense().to(old.weight.dtype), requires_grad=False)
    return new


def _rows(matrix: Matrix, config: Any) -> Tensor:
    """Which rows of the fused matrix are this part's."""
    count = matrix.shape[0]
    if config.model_type not in INTERLEAVED:
        return torch.arange(count) + matrix.part * count
    heads = config.num_attention_heads
    width = count // heads
    return (torch.arange(heads)[:, None] * matrix.parts * width + matrix.part * width + torch.arange(width)).reshape(-1)


def _find_matrices(module: nn.Module, architecture: str) -> dict[str, Matrix]:
    found: dict[str, Matrix] = {}
    owners: dict[int, str] = {}
    for path, one in module.named_modules():
        weight = _weight_of(one)
        if weight is None:
            continue
        identity = weight.data_ptr()
        if identity in owners:
            first = found[owners[identity]]
            found[first.role] = Matrix(**{**vars(first), "tied": (*first.tied, path)})
            continue
        for place in places(architecture, path):
            matrix = _matrix(place, one, weight)
            role = place.role if place.role not in found else f"other.{path}"
            found[role] = Matrix(**{**vars(matrix), "role": role})
            owners[identity] = role
    return found


def _weight_of(module: nn.Module) -> Tensor | None:
    """The matrix of a module that has one."""
    if isinstance(module, nn.Linear | nn.Embedding | Conv1D):
        return module.weight
    return None


def _matrix(place: Place, module: nn.Module, weight: Tensor) -> Matrix:
    rows, columns = (weight.shape[1], weight.shape[0]) if isinstance(module, Conv1D) else tuple(weight.shape)
    kind = "embedding" if isinstance(module, nn.Embedding) else "linear"
    return Matrix(place.role, place.module, (rows // place.parts, columns), kind, (), place.part, place.parts)
