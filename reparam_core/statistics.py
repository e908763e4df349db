"""Statistics of every matrix's inputs over calibration text: of the base at once, or behind what is compressed already."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from reparam_core.data import Sequences
from reparam_core.errors import ReparamError
from reparam_core.models import Model
from reparam_core.models.model import structural_clone
from reparam_core.parametrizations import Statistics
from reparam_core.roles import layer_of
from reparam_core.store import key, store

BATCH = 4  # sequences read together
FEW = 16  # tokens that show which matrices read the same input
Gathering = Generator[tuple[float, str], None, dict[str, Statistics]]
MASK = 4  # dimensions of a mask or bias of attention: (sequences or 1, heads or 1, L, L)
KEPT = ("count", "gram", "mean", "peak")  # of an input, in the store; in its key too: what is kept of less is not found


@dataclass
class _Sums:
    """What is added up of one input."""

    gram: Tensor
    total: Tensor  # Σ x, (in), float64: the mean's square is taken from that of x
    peak: Tensor
    count: int = 0

    @classmethod
    def empty(cls, width: int) -> _Sums:
        return cls(torch.zeros(width, width), torch.zeros(width, dtype=torch.float64), torch.zeros(width))

    def add(self, x: Tensor) -> None:
        """x (…, in), every token of it."""
        rows = x.reshape(-1, x.shape[-1]).float()
        self.gram.addmm_(rows.T, rows)
        self.total += rows.sum(0, dtype=torch.float64)
        self.peak = torch.maximum(self.peak, rows.abs().amax(0))
        self.count += len(rows)

    @property
    def mean(self) -> Tensor:
        return (self.total / max(1, self.count)).float()

    def tensors(self) -> dict[str, Tensor]:
        """As the store keeps it."""
        return dict(zip(KEPT, (torch.tensor(self.count), self.gram, self.mean, self.peak), strict=True))

    def statistics(self, digest: str) -> Statistics:
        """Of inputs that no other setting has."""
        return Statistics(self.count, self.gram, self.mean, self.peak, digest, fleeting=True)


class _EnoughError(Exception):
    """Every matrix that was asked about has been seen: the rest of the pass is not needed."""


def one_shot(model: Model, roles: Iterable[str], calibration: Sequences) -> Gathering:
    """Of the base's inputs to these matrices, from the store where they were gathered before.

    Yields how much is done. A matrix that nothing is multiplied with (an embedding that is only looked up) is left out.
    """
    wanted = set(roles)
    owners = _owners(model, calibration) if wanted else {}
    asked = {role: _digest(model, path, calibration) for role, path in owners.items() if role in wanted}
    missing = {owners[role]: name for role, name in asked.items() if store().tensors(name) is None}
    if missing:
        yield from _gather(model, missing, calibration)
    kept = {name: _kept(name) for name in dict.fromkeys(asked.values())}
    return {role: kept[name] for role, name in asked.items()}


def _gather(model: Model, missing: Mapping[str, str], calibration: Sequences) -> Iterator[tuple[float, str]]:
    """One pass over the calibration text for what is missing: module → its key in the store, in the order of use."""
    sums: dict[str, _Sums] = {}
    last, count = list(missing)[-1], len(calibration.ids)

    def add(path: str, x: Tensor) -> None:
        _add(sums, path, x)
        if path == last:
            raise _EnoughError

    watched = structural_clone(model.module)  # others read with the shared base while this pauses
    with _watching(watched, missing, add):
        for index, ids in enumerate(calibration.ids.split(BATCH)):
            yield index * BATCH / count, f"Reading the calibration text: {index * BATCH} of {count} sequences"
            with suppress(_EnoughError):
                _read(model, watched, ids)
    for path, name in missing.items():
        store().save_tensors(name, sums[path].tensors())


def _kept(name: str) -> Statistics:
    found = store().tensors(name)
    if found is None:
        raise ReparamError(
            "The statistics of the calibration text could not be kept.", "Make room on the cache's disk."
        )
    count, gram, mean, peak = (found[one] for one in KEPT)
    return Statistics(int(count), gram, mean, peak, name)


def _digest(model: Model, path: str, calibration: Sequences) -> str:
    return key(statistics=model.sha256, module=path, calibration=calibration.provenance(), kept=KEPT)


def stands_out(x: Tensor) -> float:
    """max |x| / rms(x): 1 where all numbers are alike, √n where one of n is all there is."""
    rms = float(x.float().square().mean().sqrt())
    return float(x.abs().max()) / rms if rms else 1.0


def input_outliers(model: Model, ids: Tensor) -> dict[str, float]:
    """How far the largest number of every matrix's input stands out, over sequences of ids (N, L)."""
    readers, found = _readers(model, model.matrices), dict[str, float]()
    watched = structural_clone(model.module)
    with _watching(watched, readers, lambda path, x: found.update({path: stands_out(x)})):
        _read(model, watched, ids)
    return {role: found[path] for path, roles in readers.items() if path in found for role in roles}


def _owners(model: Model, calibration: Sequences) -> dict[str, str]:
    """role → the module that stands for all which read the very same input, in the order of use; by a few tokens.

    Of every matrix, whichever are asked about: rules for one or for many then find the same statistics in the store.
    """
    readers = _readers(model, model.matrices)
    seen: dict[str, Tensor] = {}  # held, so that no other tensor gets the place of one that is gone
    watched = structural_clone(model.module)
    with _watching(watched, readers, seen.setdefault):
        _read(model, watched, calibration.ids[:1, :FEW])
    return {role: owner for path, owner in _sharing(seen).items() for role in readers[path]}


def _sharing(seen: Mapping[str, Tensor]) -> dict[str, str]:
    """module → the first of those that were handed the very same tensor."""
    first: dict[int, str] = {}
    return {path: first.setdefault(id(x), path) for path, x in seen.items()}


def _add(sums: dict[str, _Sums], path: str, x: Tensor) -> None:
    if path not in sums:
        sums[path] = _Sums.empty(x.shape[-1])
    sums[path].add(x)


def _readers(model: Model, roles: Iterable[str]) -> dict[str, list[str]]:
    """module → the roles that it holds: several where projections are fused."""
    found: dict[str, list[str]] = {}
    for role in roles:
        for path in model.users(role):
            found.setdefault(path, []).append(role)
    return found


@contextmanager
def _watching(module: nn.Module, paths: Iterable[str], see: Callable[[str, Tensor], object]) -> Iterator[None]:
    """While it lasts, `see` is told the input of each of these modules that multiplies."""
    with ExitStack() as hooks:
        for path in paths:
            one = module.get_submodule(path)
            if not isinstance(one, nn.Embedding):
                hooks.callback(one.register_forward_pre_hook(partial(_tell, path, see)).remove)
        yield


def _tell(path: str, see: Callable[[str, Tensor], object], _module: nn.Module, given: tuple[Any, ...]) -> None:
    see(path, given[0])


def given_to(model: Model, ids: Tensor) -> dict[str, Any]:
    """What a pass over some sequences is called with; a decoder beside an encoder reads them shifted by one."""
    given: dict[str, Any] = {"input_ids": ids}
    if model.config.is_encoder_decoder:
        whole: Any = model.module
        given["decoder_input_ids"] = whole.prepare_decoder_input_ids_from_labels(labels=ids)
    if model.keeps_keys_and_values:
        given["use_cache"] = False
    return given


def _read(model: Model, module: nn.Module, ids: Tensor) -> None:
    """The model, or a clone of it, reads some sequences."""
    with torch.inference_mode():
        module(**given_to(model, ids))


@dataclass
class _Block:
    """One block of a stack, and how the model calls it."""

    layer: str  # layers.3, decoder.layers.0
    path: str
    given: tuple[Any, ...] = ()  # after the hidden states
    named: dict[str, Any] = field(default_factory=dict)


class Walk:
    """The blocks of a model in order, each fed by what the blocks before it have become; one block's sums at a time.

    As the authors of SparseGPT, GPTQ and Wanda calibrate: a block's matrices see the compressed blocks before it, and
    the block itself as it was.
    """

    def __init__(self, model: Model, module: nn.Module, calibration: Sequences) -> None:
        """`module` is a clone of the model's, which whoever walks changes block by block."""
        self.model, self.module, self.calibration = model, module, calibration
        self.batches = calibration.ids.split(BATCH)
        self.layers = _blocks(model)
        self._states: list[tuple[Tensor, tuple[Any, ...], dict[str, Any]]] = []  # a batch: hidden states, the rest
        self._first: _Block | None = None

    def blocks(self) -> Iterator[_Block | None]:
        """Every block, once those before it are as they will stay: each is advanced over when the next is asked for.

        None between two batches: a place to pause, or to stop.
        """
        self._learn_calls(self.layers)
        for index, block in enumerate(self.layers):
            if index == 0 or _stack(self.layers[index - 1]) != _stack(block):
                yield from self._enter(block)
            yield block
            if block is not self.layers[-1]:
                yield from self._advance(block)

    def statistics(self, block: _Block, roles: Iterable[str]) -> Generator[None, None, dict[str, Statistics]]:
        """Of the inputs of these matrices of the block, with a place to pause after every batch."""
        wanted = _readers(self.model, roles)
        if not wanted:
            return {}
        seen: dict[str, Tensor] = {}
        with _watching(self.module, wanted, seen.setdefault):
            self._run(block, 0)
        owners, sums = _sharing(seen), dict[str, _Sums]()
        with _watching(self.module, set(owners.values()), partial(_add, sums)):
            for index in range(len(self.batches)):
                self._run(block, index)
                yield
        kept = {path: one.statistics(f"{block.path} of {id(self)}") for path, one in sums.items()}
        return {role: kept[owner] for path, owner in owners.items() for role in wanted[path]}

    def outside(self, roles: Iterable[str]) -> Generator[None, None, dict[str, Statistics]]:
        """Of the inputs of matrices in no block (a head of its own), behind what every block has become."""
        wanted, sums = _readers(self.model, roles), dict[str, _Sums]()
        if not wanted:
            return {}
        with _watching(self.module, wanted, partial(_add, sums)):
            for ids in self.batches:
                _read(self.model, self.module, ids)
                yield
        kept = {path: one.statistics(f"{path} of {id(self)}") for path, one in sums.items()}
        return {role: one for path, one in kept.items() for role in wanted[path]}

    def _learn_calls(self, blocks: list[_Block]) -> None:
        """How the model calls each block: masks and positions that no batch changes."""
        with ExitStack() as hooks:
            for block in blocks:
                one = self.module.get_submodule(block.path)
                hooks.callback(one.register_forward_pre_hook(partial(_learn, block), with_kwargs=True).remove)
            _read(self.model, self.module, self.batches[0])

    def _enter(self, block: _Block) -> Iterator[None]:
        """The hidden states before the first block of a stack, batch by batch."""
        self._first, self._states = block, []

        def keep(_module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            hidden, rest, kept = _parted(given, named)
            self._states.append((hidden, rest, kept))
            raise _EnoughError

        one = self.module.get_submodule(block.path)
        with ExitStack() as hooks:
            hooks.callback(one.register_forward_pre_hook(keep, with_kwargs=True).remove)
            for ids in self.batches:
                with suppress(_EnoughError):
                    _read(self.model, self.module, ids)
                yield

    def _run(self, block: _Block, index: int) -> Tensor:
        """The block's answer for one batch."""
        assert self._first is not None
        hidden, rest, named = self._states[index]
        first, count = self._first, len(hidden)
        given = (_own(own, one, mine, count) for own, one, mine in zip(block.given, first.given, rest, strict=True))
        called = {name: _own(own, first.named.get(name), named.get(name), count) for name, own in block.named.items()}
        with torch.inference_mode():
            answer = self.module.get_submodule(block.path)(hidden, *given, **called)
        return answer[0] if isinstance(answer, tuple) else answer

    def _advance(self, block: _Block) -> Iterator[None]:
        for index, (_, rest, named) in enumerate(self._states):
            self._states[index] = (self._run(block, index), rest, named)
            yield


def _own(block: Any, first: Any, batch: Any, count: int) -> Any:
    """What a block is called with: the batch's own where the stack's blocks share it, else what that block was given.

    A mask of the block's own was made for a full batch, every sequence alike: of a last, smaller one it takes `count`.
    """
    if block is first:
        return batch
    return block[:count] if isinstance(block, Tensor) and block.ndim == MASK else block


def _learn(block: _Block, _module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
    _, block.given, block.named = _parted(given, named)


def _parted(given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Tensor, tuple[Any, ...], dict[str, Any]]:
    """The hidden states, and the rest of a block's call."""
    if given:
        return given[0], given[1:], dict(named)
    rest = dict(named)
    return rest.pop("hidden_states"), (), rest


def block_paths(model: Model) -> dict[str, str]:
    """layer → the module of its block, in the order of use."""
    return {one.layer: one.path for one in _blocks(model)}


def _blocks(model: Model) -> list[_Block]:
    """In the order of the modules: encoders before decoders."""
    found: dict[str, _Block] = {}
    for role, matrix in model.matrices.items():
        if matrix.compressed_by_default:
            layer = layer_of(role)
            parts = matrix.module.split(".")
            number = layer.rpartition(".")[2]
            found.setdefault(layer, _Block(layer, ".".join(parts[: parts.index(number) + 1])))
    return list(found.values())


def _stack(block: _Block) -> str:
    return block.layer.rpartition("layers.")[0]
