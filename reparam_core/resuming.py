"""A pass that begins behind blocks whose answers are known already, as nothing before them has changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from torch import nn

from reparam_core.models.model import structural_clone

Answers = Mapping[str, Any]  # a block's module → what it answered to the input in hand


def noting(module: nn.Module, blocks: Iterable[str], answers: dict[str, Any]) -> nn.Module:
    """A clone that notes down what each of these blocks answers: others read with the shared base meanwhile."""
    watched = structural_clone(module)
    for path in blocks:
        block = watched.get_submodule(path)
        block.register_forward_hook(lambda _module, _given, answer, path=path: answers.update({path: answer}))
    return watched


class Resumed(nn.Module):
    """A module in which these blocks answer what is `known` instead of computing it."""

    def __init__(self, module: nn.Module, skipped: Iterable[str]) -> None:
        super().__init__()
        self.module = structural_clone(module)
        self.known: Answers = {}
        for path in skipped:
            block: Any = self.module.get_submodule(path)
            block.forward = partial(self._answer, path)  # a model may ask its blocks what kind they are: they stay

    def _answer(self, path: str, *_given: Any, **_named: Any) -> Any:
        return self.known[path]

    def forward(self, **inputs: Any) -> Any:
        """The module's own answer to what the known answers were given to."""
        return self.module(**inputs)
