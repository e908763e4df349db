"""The command line: `--json` prints one JSON object on standard output, everything else goes to standard error."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from reparam_core.errors import ReparamError
from reparam_core.store import store_warning

# Plain mark-up: the last line of a mistake is the mistake, not the edge of a box.
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__, rich_markup_mode=None)
Name = Annotated[str, typer.Option("--model", help="A catalogue name, a local folder, or a hub id.")]
Given = Annotated[
    str,
    typer.Option("--recipe", help="'base', 'svd:0.5 + rtn:4g64', a preset as 'quarter-size', JSON, or a JSON file."),
]
EVERY = 5.0  # seconds between two lines of progress
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]


def say(line: str) -> None:
    """A line for people."""
    typer.echo(line, err=True)


def answer(value: dict[str, Any], as_json: bool, text: str) -> None:
    """The one JSON object, or text for people."""
    typer.echo(json.dumps(value, allow_nan=False) if as_json else text)


class Told:
    """Progress, a line every few seconds."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self, share: float, what: str) -> None:
        """Say it where the last line is some time ago."""
        if time.monotonic() - self.last >= EVERY:
            say(f"{share:4.0%} {what}")
            self.last = time.monotonic()


def _load(name: str, recipe: str = "base") -> tuple[Any, Any]:
    """The model and the recipe, which is read first: fetching a model takes longer than seeing that it is for nothing."""
    from reparam_core.models import load  # torch takes a second: `--help` need not wait for it
    from reparam_core.recipes import Recipe

    parsed = Recipe.parse(recipe)
    return load(name, progress=lambda share, what: say(f"{share:4.0%} {what}")), parsed


def _source(text: str | None, data: str | None) -> str | None:
    """What is scored, where it was named. Raises ReparamError where it was named twice, or by nothing."""
    named = [one for one in (text, data) if one is not None]
    if len(named) > 1:
        raise ReparamError("--text and --data both name what is scored.", "Give one of them.")
    if "" in named:
        raise ReparamError("What is scored has no name.", "Give --text or --data a name, or leave it out.")
    return named[0] if named else None


@dataclass(frozen=True)
class Calibrating:
    """The calibration options of a command."""

    name: str | None
    sequences: int
    length: int
    offset: int
    sentences: float

    def read(self, loaded: Any) -> Any:
        """The sequences, where a text was named; else the recipe's own calibration counts."""
        from reparam_core.apply import finished
        from reparam_core.data import own_count
        from reparam_core.written import reading

        own_count(self.sequences, self.sentences)  # what is no share is refused with any text, and without one
        if self.sentences and not self.name:
            raise ReparamError("--calibration-sentences mixes a named text.", "Name it with --calibration.")
        if not self.name:
            return None
        asked = reading(loaded, self.name, self.sequences, self.length, self.offset, self.sentences)
        return finished(asked, Told())


def _options(
    calibration: Annotated[str | None, typer.Option("--calibration", help="A text for data-aware methods; refused where "
                           "it holds what is evaluated. Default: the recipe's, else the shipped mixture.")] = None,
    calibration_sequences: Annotated[int, typer.Option(min=1)] = 64,
    calibration_length: Annotated[int, typer.Option(min=2)] = 512,
    calibration_offset: Annotated[int, typer.Option(min=0)] = 0,
    calibration_sentences: Annotated[float, typer.Option(help="The share of the sequences that are of shipped sentences, "
                                     "as 0.75, and not of that text.")] = 0.0,
) -> Calibrating:  # fmt: skip
    return Calibrating(
        calibration, calibration_sequences, calibration_length, calibration_offset, calibration_sentences
    )


def calibrated(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the calibration options in the place of its parameter `calibration`."""
    own, options = (signature(one, eval_str=True) for one in (command, _options))

    @wraps(command)
    def run(**given: Any) -> None:
        chosen = _options(**{name: given.pop(name) for name in options.parameters})
        command(**given, calibration=chosen)

    kept = [one for one in own.parameters.values() if one.name != "calibration"]
    every = [*kept, *options.parameters.values()]
    vars(run)["__signature__"] = own.replace(parameters=every)  # what typer reads
    run.__annotations__ = {one.name: one.annotation for one in every}
    return run


def _applied(loaded: Any, recipe: Any, calibration: Calibrating) -> Any:
    """The setting; what takes long says how far it is."""
    from reparam_core.apply import apply

    return apply(loaded, recipe, calibration=calibration.read(loaded), progress=Told())


@app.callback(invoke_without_command=True)
def without_command(context: typer.Context) -> None:
    """Without a command the help, as any mistake on standard error."""
    if context.invoked_subcommand is None:
        say(context.get_help())
        raise typer.Exit(2)


@app.command()
def models(as_json: AsJson = False) -> None:
    """The catalogue, and what is on this machine."""
    from reparam_core.models import ENTRIES

    found = [
        {"name": one.name, "summary": one.summary, "available": one.source is not None} for one in ENTRIES.values()
    ]
    lines = [f"{'✓' if one['available'] else '·'} {one['name']:30} {one['summary']}" for one in found]
    answer({"models": found}, as_json, "\n".join(lines))


@app.command()
def inspect(model: Name, as_json: AsJson = False) -> None:
    """The matrices of a model by role."""
    from reparam_core.models import inspect as inspected

    loaded, _ = _load(model)
    found = inspected(loaded)
    lines = [f"{one['role']:32} {one['shape']!s:14} {one['bytes']:>12,} bytes" for one in found["matrices"]]
    heading = f"{model}: {found['architecture']}, {found['parameters']:,} parameters, {found['bytes_base']:,} bytes"
    answer(found, as_json, "\n".join([heading, *lines]))


@app.command()
@calibrated
def measure(
    model: Name,
    recipe: Given = "base",
    text: Annotated[str | None, typer.Option(help="A text file, or .npy token ids (N, L).")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="A shipped text or table (addresses, moby-dick, movie-reviews, dates …), or a CSV of text and label."
        ),
    ] = None,
    sequences: Annotated[int, typer.Option(min=1)] = 16,
    length: Annotated[int, typer.Option(min=2)] = 512,
    offset: Annotated[int, typer.Option(min=0)] = 0,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    device: Annotated[str, typer.Option(help="cpu: the dashboard and its figures are made there.")] = "cpu",
    latency: Annotated[bool, typer.Option("--latency/--no-latency")] = True,
    with_tasks: Annotated[bool, typer.Option("--tasks/--no-tasks")] = True,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure again, even where it was measured before.")] = False,
    as_json: AsJson = False,
    *,
    calibration: Calibrating,
) -> None:
    """Quality, size and latency of a model under a recipe, beside its base."""
    from reparam_core.apply import check
    from reparam_core.measure import measured

    source = _source(text, data)
    if device != "cpu":
        raise ReparamError(f"Unknown device '{device}'.", "Known: cpu.")
    loaded, parsed = _load(model, recipe)
    read = calibration.read(loaded)
    check(loaded, parsed, read)
    found = measured(
        loaded, parsed, text=source, sequences=sequences, length=length, offset=offset,
        dtype=dtype, latency=latency, fresh=fresh, with_tasks=with_tasks, calibration=read, progress=Told(),
    )  # fmt: skip
    answer(found.to_json(), as_json, str(found))
    for note in [] if as_json else found["notes"]:
        if re.split("[,:]", note)[0] not in found.values:  # why a key is null concerns the one who reads JSON
            say(f"Note: {note}.")


@app.command()
@calibrated
def spectra(
    model: Name,
    where: Annotated[str | None, typer.Option(help="A glob over roles.")] = None,
    recipe: Given = "base",
    as_json: AsJson = False,
    *,
    calibration: Calibrating,
) -> None:
    """Singular values of the model's matrices, before and under a recipe."""
    from reparam_core.measure.spectra import roles_where, spectra_of

    loaded, parsed = _load(model, recipe)
    roles_where(loaded, where)  # told before any work
    found = spectra_of(_applied(loaded, parsed, calibration), where)
    answer(found, as_json, "\n".join(_spectrum_line(one) for one in found["matrices"]))


def _spectrum_line(one: dict[str, Any]) -> str:
    """A matrix's figures; before and after where a recipe changes it."""
    sides = [one] if one["after"] is None else [one, one["after"]]
    stable = " → ".join(f"{side['stable_rank']:.1f}" for side in sides)
    energy = " → ".join(str(side["rank_of_energy"]["0.9"]) for side in sides)
    return f"{one['role']:32} stable rank {stable:16} 90 % of energy in rank {energy}"


@app.command()
@calibrated
def attention(
    model: Name,
    prompt: Annotated[str, typer.Option(help="What the model reads.")],
    recipe: Given = "base",
    as_json: AsJson = False,
    *,
    calibration: Calibrating,
) -> None:
    """Attention maps of every layer and head, and how far a recipe moves them."""
    from reparam_core.measure.attention import attention_report

    loaded, parsed = _load(model, recipe)
    found = attention_report(_applied(loaded, parsed, calibration), prompt)
    lines = [line for kind, one in found["attention"].items() for line in _attention_lines(kind, one)]
    answer(found, as_json, "\n".join(lines))


def _attention_lines(kind: str, one: dict[str, Any]) -> list[str]:
    """What was read; where a recipe moves a head, by how much each layer moves and which head moves farthest."""
    layers: list[list[float]] = one["divergence_bits"]
    lines = [f"{kind}: {len(layers)} layers × {len(layers[0])} heads, {len(one['queries'])} queries"]
    far, layer, head = max((bits, layer, head) for layer, heads in enumerate(layers) for head, bits in enumerate(heads))
    if far == 0:
        return lines
    means = [f"  layer {index:2}: {sum(heads) / len(heads):.4f} bits from the base, mean of its heads"
             for index, heads in enumerate(layers)]  # fmt: skip
    return [
        *lines,
        *means,
        f"  farthest: head {head} of layer {layer}, {far:.4f} bits (Jensen–Shannon: 0 the same, 1 disjoint)",
    ]


@app.command()
@calibrated
def compress(
    model: Name,
    recipe: Given,
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    format: Annotated[str, typer.Option(help="packed")] = "packed",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the folder.")] = False,
    as_json: AsJson = False,
    *,
    calibration: Calibrating,
) -> None:
    """Write the model under a recipe, in exactly the bytes that `measure` reports."""
    from reparam_core.models import write_packed
    from reparam_core.models.packed import refuse_place

    if format != "packed":
        raise ReparamError(f"Unknown format '{format}'.", "Known: packed.")
    refuse_place(out, force)
    loaded, parsed = _load(model, recipe)
    setting = _applied(loaded, parsed, calibration)
    file = write_packed(out, setting.start, setting.forms, setting.storage, force)
    found = {"model": model, "recipe": setting.recipe.as_json(), "out": str(out), "bytes": file.stat().st_size}
    answer(found, as_json, f"{out}: {found['bytes']:,} bytes")


def main() -> None:
    """Run the command line; a user's mistake is one line on standard error and exit 2."""
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except ReparamError as error:
        say(f"Error: {error}")
        sys.exit(2)
    except TyperException as error:  # a command line that cannot be read
        say(f"Error: {' '.join(error.format_message().split()).rstrip('.')}. See --help.")
        sys.exit(2)
    finally:
        _warn()


def _warn() -> None:
    if warning := store_warning():
        say(f"Warning: {warning}")
