"""What a method or a rewrite reads beside the weights, and what it takes, in words."""

from __future__ import annotations

from collections.abc import Iterator

from reparam_core.methods.base import Method
from reparam_core.methods.rewriting import Transform

NEEDED = {
    "gram": "the Gram matrix of a matrix's inputs",
    "mean": "the mean of its inputs",
    "range": "the range of its inputs",
    "gradients": "the gradients of the untouched model's loss",
    "losses": "the untouched model's loss without each of its units",
}
SHARING: dict[int | str | None, str] = {None: "a row", "tensor": "a matrix"}  # what has one grid


def needs(kind: type[Method] | type[Transform]) -> str:
    """`Calibration text, for the Gram matrix of a matrix's inputs. It takes 2 to 8 bits`."""
    read = " and ".join(words for name, words in NEEDED.items() if name in kind.needs)
    taken = ", ".join(_limits(kind))
    return (f"Calibration text, for {read}" if read else "Nothing but the weights") + (taken and f". It takes {taken}")


def _limits(kind: type[Method] | type[Transform]) -> Iterator[str]:
    """What is not any one matrix, not every width and not every group."""
    if kind.takes:
        yield kind.takes
    if issubclass(kind, Method) and kind.axis == "bits":
        least, most = kind.widths[0], kind.widths[-1]
        yield f"{least} to {most} bits" if most > least else f"{least} bit{'s' if least > 1 else ''} alone"
        if kind.groups is not None:
            yield f"one scale or table for {' or '.join(SHARING.get(one, f'{one} numbers') for one in kind.groups)}"
