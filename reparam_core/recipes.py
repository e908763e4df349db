"""What to apply where: validated, JSON round trip, hashable; and the short form that people type."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import bracex
import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    InstanceOf,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from wcmatch import fnmatch

from reparam_core.errors import MOST_QUOTED, ReparamError, quoted, shortened
from reparam_core.methods.base import Method
from reparam_core.methods.rewriting import Transform
from reparam_core.methods.settings import SETTINGS, Setting
from reparam_core.presets import presets
from reparam_core.registry import AXES, method, methods, split, splits, transform, transforms
from reparam_core.splits.base import Split

MOST_PATTERNS = 1000  # that the braces of one glob may stand for
ROLES_TOLD = 8
Gathered = Literal["one-shot", "sequential"]
Shrinkage = Annotated[float, Field(ge=0, lt=1)]
EXAMPLE = "svd:0.5 + magnitude:0.5 + rtn:4g64"
CACHE = "cache"  # how a short form names what is kept of keys and values
RULES = '{"rules": [{"rank": {"method": "svd", "keep": 0.5}}]}'


@dataclass(frozen=True)
class Step:
    """One axis of one rule: which method, with which fields, at which setting."""

    method: Method
    setting: Setting
    statistics: Gathered = "one-shot"  # of the base's inputs, or behind the compressed blocks before it
    split: Split | None = None  # how the setting is spread over the matrices; None: the same for each
    shrinkage: float = 0.0  # how far the Gram matrix is drawn towards a multiple of the identity

    @property
    def axis(self) -> str:
        """rank, sparsity or bits."""
        return self.method.axis

    @property
    def needs(self) -> frozenset[str]:
        """What of the inputs' statistics it reads."""
        return self.method.needs | (self.split.needs if self.split else frozenset())

    @property
    def alone(self) -> bool:
        """Does a matrix get the same form whatever becomes of the others?"""
        return self.method.unit == "matrix" and self.statistics == "one-shot" and self.split is None

    def told(self) -> str:
        """`50 % zeros`; of whole units `50 % fewer attention heads`."""
        removed = self.method.removes and getattr(self.setting, "fraction", None)
        return f"{100 * removed:g} % fewer {self.method.removes}" if removed else self.setting.told()

    def own_fields(self) -> dict[str, Any]:
        """The method's fields that differ from its defaults."""
        return {one.name: getattr(self.method, one.name) for one in fields(self.method)
                if getattr(self.method, one.name) != one.default}  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """As a recipe writes it: the method's fields only where they differ from its defaults."""
        how: dict[str, str] = {} if self.statistics == "one-shot" else {"statistics": self.statistics}
        how |= {"split": self.split.name} if self.split else {}
        drawn = {"shrinkage": self.shrinkage} if self.shrinkage else {}
        return {"method": self.method.name} | self.own_fields() | self.setting.given() | how | drawn

    def short(self) -> str:
        """`svd:0.5`; fields of the method's own, which the short form has no place for, in brackets."""
        fields_told = self.own_fields() | ({"shrinkage": self.shrinkage} if self.shrinkage else {})
        own = ", ".join(f"{name} {value}" for name, value in fields_told.items())
        how = "" if self.statistics == "one-shot" else f"@{self.statistics}"
        how += f"@{self.split.name}" if self.split else ""
        return f"{self.method.name}:{self.setting.short()}{how}{own and f' ({own})'}"

    @classmethod
    def parse(cls, axis: str, raw: Any) -> Step:
        """From a recipe's JSON. Raises ReparamError naming the axis and the field."""
        if not isinstance(raw, dict) or "method" not in raw:
            raise ReparamError(
                f"The {axis} step needs a method, got {_shown(raw)}.", f"Known: {', '.join(methods(axis))}."
            )
        kind = method(_scored(str(raw["method"]), raw.get("score"), axis), axis)
        endless = [name for name, value in raw.items() if isinstance(value, float) and not math.isfinite(value)]
        if endless:
            raise ReparamError(f"The {axis} step '{kind.name}' is wrong: {endless[0]} is {raw[endless[0]]}.",
                               "Give a finite number.")  # fmt: skip
        own = {one.name: raw[one.name] for one in fields(kind) if one.name in raw}
        how = {name: raw[name] for name in ("statistics", "shrinkage") if kind.needs and name in raw}
        spread = split(str(raw["split"]), axis) if raw.get("split") is not None else None
        rest = {
            name: value
            for name, value in raw.items()
            if name not in own | how | dict.fromkeys(("method", "score", "split"))
        }
        try:
            if axis == "bits" and "bits" not in rest and len(kind.widths) == 1:
                rest["bits"] = kind.widths[0]
            gathered = TypeAdapter(Gathered).validate_python(how.get("statistics", "one-shot"))
            drawn = TypeAdapter(Shrinkage).validate_python(how.get("shrinkage", 0.0))
            step = cls(
                TypeAdapter(kind).validate_python(own), SETTINGS[axis].model_validate(rest), gathered, spread, drawn
            )
        except ValidationError as error:
            raise ReparamError(
                f"The {axis} step '{kind.name}' is wrong: {_plain(error)}.", _allowed(axis, kind)
            ) from None
        step.refuse()
        return step

    def refuse(self) -> None:
        """Raises ReparamError for a setting that the method has not, or that its split cannot spread."""
        kind = type(self.method)
        width = getattr(self.setting, "bits", None)
        if width is not None and width not in kind.widths:
            raise ReparamError(f"The bits step '{kind.name}' is wrong: it has no form of {width} bits.",
                               f"It takes {kind.widths[0]}{f' to {kind.widths[-1]}' if len(kind.widths) > 1 else ''}.")  # fmt: skip
        if getattr(self.setting, "symmetric", False) and not kind.symmetric:
            raise ReparamError(
                f"The bits step '{kind.name}' is wrong: its grid is never symmetric.", "Leave symmetric out."
            )
        if self.split is not None and (reason := self.split.unsuited(self.method)):
            raise ReparamError(f"The {self.axis} step '{kind.name}' is wrong: {reason}.",
                               "Leave split out, or take another method or scope.")  # fmt: skip
        if self.split is not None:
            self.split.refuse(self.setting)


def _scored(name: str, score: Any, axis: str) -> str:
    """The method that removes the same units by that score: heads by flap are flap-heads, by magnitude they are heads."""
    if score is None:
        return name
    units = [one for one, kind in methods(axis).items() if kind.removes and name and f"-{one}".endswith(f"-{name}")]
    scores = {one.removesuffix(name).rstrip("-") or "magnitude": one for one in units}
    if score not in scores:
        raise ReparamError(f"{quoted(name)} has no score {quoted(str(score))}.",
                           f"Known: {', '.join(scores)}." if scores else "Leave score out.")  # fmt: skip
    return scores[score]


def _allowed(axis: str, kind: type[Method]) -> str:
    how = (["statistics", "shrinkage"] if kind.needs else []) + (["split"] if splits(axis) else [])
    names = [*SETTINGS[axis].model_fields, *(one.name for one in fields(kind)), *how]
    return f"Its fields are {', '.join(names)}."


def _plain(error: ValidationError) -> str:
    """Pydantic's findings in one line for people."""
    found = []
    for one in error.errors():
        where = shortened(".".join(str(place) for place in one["loc"]), MOST_QUOTED)
        what = one["msg"].removeprefix("Value error, ").replace("Extra inputs are not permitted", "unknown field")
        given = f" (got {_shown(one['input'])})" if where and one["type"] not in ("extra_forbidden", "missing") else ""
        found.append(f"{where + ': ' if where else ''}{what[0].lower() + what[1:]}{given}")
    return "; ".join(found)


class Rule(BaseModel):
    """Steps for the matrices whose role matches `where`; a step of None removes what an earlier rule named."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)
    where: str | None = None  # a glob over roles; None: every matrix of the blocks
    steps: Mapping[str, Step | None] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _read(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or "steps" in raw:
            return raw
        unknown = sorted(set(raw) - {"where", *AXES})
        if unknown:
            raise ReparamError(
                f"Unknown field {quoted(unknown[0])} in a rule.", f"A rule has where, {', '.join(AXES)}."
            )
        steps = {axis: None if raw[axis] is None else Step.parse(axis, raw[axis]) for axis in AXES if axis in raw}
        return {"where": raw.get("where"), "steps": steps}

    @field_validator("where")
    @classmethod
    def _expandable(cls, where: str | None) -> str | None:
        try:
            bracex.expand(where or "", keep_escapes=True, limit=MOST_PATTERNS)
        except bracex.ExpansionLimitException:
            raise ValueError(f"stands for more than {MOST_PATTERNS} patterns") from None
        return where

    def __hash__(self) -> int:
        return hash((self.where, frozenset(self.steps.items())))

    def matches(self, role: str, by_default: bool) -> bool:
        """Does it speak of this role?"""
        if self.where is None:
            return by_default
        return bool(fnmatch.fnmatch(role, self.where, flags=fnmatch.BRACE | fnmatch.CASE))

    def as_json(self) -> dict[str, Any]:
        """As a recipe writes it."""
        where = {} if self.where is None else {"where": self.where}
        return where | {axis: step and step.as_json() for axis, step in self.steps.items()}


class Calibration(BaseModel):
    """The text that data-aware transforms and steps read, and how much of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    text: str = "mixture"  # shipped, or a file
    sequences: Annotated[int, Field(ge=1)] = 64
    length: Annotated[int, Field(ge=2)] = 512
    offset: Annotated[int, Field(ge=0)] = 0
    sentences: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of the sequences that are of the shipped sentences

    def short(self) -> str:
        """`64 × 512 of addresses-train, 75 % sentences`."""
        mixed = f", {100 * self.sentences:g} % sentences" if self.sentences else ""
        return f"{self.sequences} × {self.length} of {self.text}{mixed}"


class Cache(BaseModel):
    """How the keys and values are kept of the tokens before: in so many bits, so many neighbours to a grid."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    bits: Annotated[int, Field(ge=2, le=8)]
    group: Annotated[int, Field(ge=1)] = 64

    def short(self) -> str:
        """`cache:4g64`."""
        return f"{CACHE}:{self.bits}g{self.group}"


class Recipe(BaseModel):
    """What to apply where. `{"rules": []}` is the untouched model."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: Literal[1] = 1
    transform: tuple[InstanceOf[Transform], ...] = ()  # rewrites that keep the function, before any rule
    rules: tuple[Rule, ...]
    storage: Literal["float16", "bfloat16", "float32"] | None = None
    calibration: Calibration = Calibration()
    cache: Cache | None = None

    @field_validator("transform", mode="before")
    @classmethod
    def _rewrites(cls, raw: Any) -> Any:
        if not isinstance(raw, list | tuple):
            raise ReparamError(f"The recipe's transform is {_shown(raw)}.", 'Give a list, as [{"method": "rotate"}].')
        return tuple(_transform(one) for one in raw)

    @classmethod
    def parse(cls, source: str | Path | Mapping[str, Any] | Recipe) -> Recipe:
        """From a file, inline JSON, a mapping or the short form. Raises ReparamError with what is wrong and where."""
        if isinstance(source, Recipe):
            return source
        raw = dict(source) if isinstance(source, Mapping) else _read(str(source).strip())
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            raise ReparamError(
                f"The recipe is wrong: {_plain(error)}.", f"The short form looks like '{EXAMPLE}'."
            ) from None

    def as_json(self) -> dict[str, Any]:
        """The canonical JSON: defaults left out, and a calibration that nothing reads."""
        storage = {} if self.storage is None else {"storage": self.storage}
        first = {"transform": [one.as_json() for one in self.transform]} if self.transform else {}
        own = self.calibration.model_dump(exclude_defaults=True) if self.reads else {}
        read = {"calibration": own} if own else {}
        cached = {"cache": self.cache.model_dump(exclude_defaults=True)} if self.cache else {}
        return {"version": 1, **first, "rules": [rule.as_json() for rule in self.rules]} | storage | read | cached

    def with_rules(self, rules: Sequence[Mapping[str, Any]]) -> Recipe:
        """Other rules with what else this recipe says."""
        return Recipe.parse(self.as_json() | {"rules": list(rules)})

    @cached_property
    def canonical(self) -> str:
        """One string for one recipe: the key of everything measured with it."""
        return json.dumps(self.as_json(), sort_keys=True, separators=(",", ":"))

    def short(self) -> str:
        """The short form where there is one, else the steps with where they apply."""
        kept = (f" + {self.cache.short()}" if self.cache else "") + (f" in {self.storage}" if self.storage else "")
        first = " + ".join(one.short() for one in self.transform)
        own = self.as_json().get("calibration")
        read = f" on {self.calibration.short()}" if own else ""
        if not any(step for rule in self.rules for step in rule.steps.values()):
            return (f"{first}{kept}{read}" if first else kept.removeprefix(" + ")) or "base"
        told = []
        for rule in self.rules:
            steps = " + ".join(step.short() if step else f"no {axis}" for axis, step in rule.steps.items())
            told.append(f"{steps} on {rule.where}" if rule.where else steps)
        return (f"{first} + " if first else "") + "; ".join(told) + kept + read

    @property
    def reads(self) -> bool:
        """Does a transform or a step read what calibration text tells of the inputs?"""
        return self.reads_first or any(step.needs for rule in self.rules for step in rule.steps.values() if step)

    @property
    def reads_first(self) -> bool:
        """Does a transform?"""
        return any(one.needs for one in self.transform)

    def storage_dtype(self, default: torch.dtype) -> torch.dtype:
        """The dtype of every float that the file keeps."""
        return default if self.storage is None else getattr(torch, self.storage)

    def resolve(self, roles: Mapping[str, bool]) -> dict[str, dict[str, Step]]:
        """role → axis → step, for roles given with whether they are compressed by default.

        The last rule that matches and names a step decides. Raises ReparamError where a rule matches nothing.
        """
        plan: dict[str, dict[str, Step]] = {}
        for rule in self.rules:
            matched = [role for role, by_default in roles.items() if rule.matches(role, by_default)]
            if not matched:
                raise ReparamError(f"The recipe matches nothing: no matrix is called {quoted(rule.where or 'blocks')}.",
                                   roles_told(roles))  # fmt: skip
            for role in matched:
                for axis, step in rule.steps.items():
                    plan.setdefault(role, {}).pop(axis, None)
                    if step is not None:
                        plan[role][axis] = step
        return {role: steps for role, steps in plan.items() if steps}


def _transform(raw: Any) -> Transform:
    """From a recipe's JSON. Raises ReparamError naming the field."""
    if isinstance(raw, Transform):
        return raw
    if not isinstance(raw, dict) or "method" not in raw:
        raise ReparamError(f"A transform needs a method, got {_shown(raw)}.", f"Known: {', '.join(transforms())}.")
    kind = transform(str(raw["method"]))
    known = [one.name for one in fields(kind)]
    told = f"Its fields are {', '.join(known)}." if known else "It has no fields."
    own = {name: value for name, value in raw.items() if name != "method"}
    if unknown := sorted(set(own) - set(known)):
        raise ReparamError(f"The transform '{kind.name}' is wrong: unknown field {quoted(unknown[0])}.", told)
    try:
        return TypeAdapter(kind).validate_python(own)
    except ValidationError as error:
        raise ReparamError(f"The transform '{kind.name}' is wrong: {_plain(error)}.", told) from None


def roles_told(roles: Iterable[str]) -> str:
    """`Roles are layers.0.attention.q, …`: one of each kind, and not too many."""
    kinds: dict[str, str] = {}
    for role in roles:
        kinds.setdefault(re.sub(r"\d+", "", role), role)
    found = sorted(kinds.values(), key=lambda role: role.startswith("other."))
    return f"Roles are {', '.join(found[:ROLES_TOLD])} …"


def _shown(given: Any) -> str:
    """A value as it was given, of a long one only the ends."""
    return shortened(repr(given), MOST_QUOTED)


def _read(text: str) -> Any:
    """A recipe's text, or a preset's name → its raw JSON."""
    if text in presets():
        return _read(presets()[text].recipe)
    if text.startswith(("{", "[", '"')) or text == "null":
        return _json(text, "The recipe")
    if text.endswith(".json") or os.path.isfile(text):
        try:
            return _json(Path(text).read_text(encoding="utf-8"), f"The recipe file {quoted(text)}")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise ReparamError(
                f"The recipe file {quoted(text)} cannot be read: {reason}.", "Give a JSON file."
            ) from None
    parts = PLUS.split(text)
    first = [part.strip() for part in parts if part.strip() in transforms()]
    cached = [part.strip() for part in parts if part.strip().startswith(f"{CACHE}:")]
    rest = [part for part in parts if part.strip() not in (*first, *cached)]
    return {"transform": [{"method": name} for name in first], "rules": short_rules("+".join(rest)) if rest else [],
            **_short_cache(cached)}  # fmt: skip


def _short_cache(parts: Sequence[str]) -> dict[str, Any]:
    """`cache:4g64` → the recipe's field; nothing where it is not said."""
    if not parts:
        return {}
    found = BITS.fullmatch(parts[0].partition(":")[2])
    if len(parts) > 1 or not found or not found["bits"] or found["tensor"] or found["symmetric"]:
        raise ReparamError(f"{quoted(' + '.join(parts))} is no way to keep keys and values.", f"Write {CACHE}:4g64.")
    return {"cache": {name: int(found[name]) for name in ("bits", "group") if found[name]}}


def _json(text: str, what: str) -> Any:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ReparamError(f"{what} is no valid JSON: {error.msg} at line {error.lineno}, column {error.colno}.",
                           "Mend it there, or use the short form.") from None  # fmt: skip
    except (RecursionError, ValueError):  # nested thousands deep, a number of thousands of digits
        raise ReparamError(f"{what} is beyond what can be read.", "Write numbers and rules as usual.") from None
    if not isinstance(found, dict):
        raise ReparamError(
            f"{what} is {shortened(text, MOST_QUOTED)}, no JSON object.", f"Write {RULES}, or the short form."
        )
    return found


PLUS = re.compile(r"\+(?!\d)")  # 1e+06 is a number
NUMBER = r"[\d.]+(?:e[+-]?\d+)?"
RANK = re.compile(rf"r(?P<rank>\d+)|e(?P<energy>{NUMBER})|(?P<parameters>{NUMBER})p|(?P<keep>{NUMBER})")
SPARSITY = re.compile(rf"t(?P<threshold>{NUMBER})|(?P<pattern>\d+:\d+)|(?P<fraction>{NUMBER})(?:b(?P<block>\d+))?")
BITS = re.compile(r"(?P<bits>\d+)?(?:(?P<tensor>t)|g(?P<group>\d+))?(?P<symmetric>s)?")
PATTERNS = {"rank": RANK, "sparsity": SPARSITY, "bits": BITS}
EXAMPLES = {"rank": "svd:0.5, svd:r64, svd:0.8p or svd:e0.95", "sparsity": "magnitude:0.5, magnitude:2:4 or magnitude:t0.01",
            "bits": "rtn:4g64, rtn:4, rtn:8t or rtn:4g64s"}  # fmt: skip


def short_rules(text: str) -> list[dict[str, Any]]:
    """`svd:0.5 + rtn:4g64` → the rules of a recipe; `base` → none. Raises ReparamError for what it cannot read."""
    if text == "base":
        return []
    rule: dict[str, Any] = {}
    for part in PLUS.split(text):
        axis, step = _short_step(part.strip())
        if axis in rule:
            raise ReparamError(
                f"The recipe {quoted(text)} names the {axis} step twice.",
                "Name each axis once, or write rules in JSON.",
            )
        rule[axis] = step
    return [rule]


def _short_step(part: str) -> tuple[str, dict[str, Any]]:
    said, *hows = (one.strip() for one in part.split("@"))
    name, _, value = said.partition(":")
    value, slash, score = value.partition("/")
    wrong = ReparamError(f"{quoted(part)} is no step of a recipe.", f"Write 'base', or steps like '{EXAMPLE}'.")
    if not name or (":" in said) != bool(value) or bool(slash) != bool(score) or not all(hows):
        raise wrong
    if name in transforms():
        raise ReparamError(f"{quoted(part)} is no step of a recipe: a transform has no setting.", f"Write {name}.")
    kind = method(name)
    if not value and (kind.axis != "bits" or len(kind.widths) > 1):  # one that has one width needs no setting
        raise wrong
    found = PATTERNS[kind.axis].fullmatch(value)
    if not found:
        raise ReparamError(f"{quoted(value)} is no setting for {name}.", f"Write {EXAMPLES[kind.axis]}.")
    given = {key: text for key, text in found.groupdict().items() if text is not None}
    step: dict[str, Any] = {
        "method": _scored(name, score or None, kind.axis),
        **{_how(kind.axis, one): one for one in hows},
    }
    if len(step) != 1 + len(hows):
        raise ReparamError(f"{quoted(part)} says twice how it goes.", "Name the statistics once, and one split.")
    if given.pop("tensor", None):
        given["group"] = "tensor"
    if given.pop("symmetric", None):
        step["symmetric"] = True
    if "pattern" in given:
        return kind.axis, step | given
    return kind.axis, step | _numbers(given)


def _numbers(given: Mapping[str, str]) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    for key, text in given.items():
        try:
            numbers[key] = text if text == "tensor" else int(text) if text.isdigit() and key != "keep" else float(text)
        except ValueError:
            raise ReparamError(f"{quoted(text)} is no number.", f"Write a recipe like '{EXAMPLE}'.") from None
    return numbers


def _how(axis: str, said: str) -> str:
    """Which field is meant behind an `@`: a split that this axis knows, else where statistics come from."""
    return "split" if said in splits(axis) else "statistics"
