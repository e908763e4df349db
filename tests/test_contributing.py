"""The worked example of CONTRIBUTING is a method that works as it is promised there."""

import runpy
from pathlib import Path

import torch

from reparam_core import registry
from reparam_core.parametrizations import Leaf
from reparam_core.recipes import Recipe

GUIDE = Path(__file__).resolve().parents[1] / "CONTRIBUTING.md"


def test_the_worked_example_registers_and_applies(tmp_path: Path) -> None:
    code = GUIDE.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    known = set(registry.methods())
    try:
        example = tmp_path / "random_projection.py"
        example.write_text(code, encoding="utf-8")
        runpy.run_path(str(example))
        assert "random-projection" in registry.methods("rank")
        step = Recipe.parse("random-projection:0.5").rules[0].steps["rank"]
        assert step is not None
        leaves = {"w": Leaf("", torch.randn(24, 16, generator=torch.Generator().manual_seed(0)))}
        form = step.method.at(step.method.prepare(leaves), leaves, step.setting)["w"]
        assert form.shape == (24, 16)
        assert int(torch.linalg.matrix_rank(form.dense())) == 8
    finally:
        for name in set(registry.METHODS) - known:
            del registry.METHODS[name]
