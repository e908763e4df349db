"""The repository keeps to its own rules: rooms, names, lengths, words; the import rules are import-linter's."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import reparam_core
from reparam_core.registry import methods

ROOT = Path(__file__).resolve().parents[1]
ROOMS = [one for one in (ROOT / "reparam_core").iterdir() if (one / "__init__.py").exists() or one.suffix == ".py"]
LONGEST, METHOD_LINES = 40, 150
FOREIGN = re.compile(r"(?<![\w.~])/(?:home|root|Users|work|tmp)/\w|[A-Z]:\\\\?Users")
EXCUSES = re.compile(r"#\s*(?:noqa|type:\s*ignore|pragma)|\b(?:TODO|FIXME|XXX|HACK)\b")


def tracked(*patterns: str) -> list[Path]:
    """The files that the repository holds; all there are where this is no checkout."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return [path for pattern in patterns for path in ROOT.rglob(pattern) if ".venv" not in path.parts]
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(reparam_core.__path__, "reparam_core."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def test_every_room_is_in_the_architecture() -> None:
    told = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    names = [f"{one.name}/" if one.is_dir() else one.name for one in ROOMS if one.name != "__init__.py"]
    assert len(names) > 10
    assert not [name for name in names if name not in told]


def test_tests_mirror_the_rooms() -> None:
    rooms = {one.name for one in ROOMS if one.is_dir()} | {"pages", "browser"}
    folders = {one.name for one in (ROOT / "tests").iterdir() if one.is_dir() and list(one.glob("test_*.py"))}
    assert rooms - folders == set()
    assert folders - rooms <= {"train", "assets", "benchmarks", "scripts"}


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in tracked("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno >= LONGEST
    ]
    assert not long


def test_a_method_is_one_short_file_of_its_own() -> None:
    places = {name: inspect.getfile(kind) for name, kind in methods().items()}
    assert len(set(places.values())) == len(places)
    for name, place in places.items():
        assert len(Path(place).read_text(encoding="utf-8").splitlines()) <= METHOD_LINES, name


def test_no_method_knows_another_ones_name() -> None:
    """Nor does the engine below: only pages, charts and jobs that show one on purpose may name it."""
    for name in methods():
        quoted = re.compile(rf"""["']{re.escape(name)}["']""")
        knowing = [path for room in ("methods", "parametrizations", "models", "data", "measure")
                   for path in (ROOT / "reparam_core" / room).rglob("*.py")
                   if quoted.search(path.read_text(encoding="utf-8"))]  # fmt: skip
        assert [path.name for path in knowing] == [Path(inspect.getfile(methods()[name])).name], name


def test_what_is_public_says_what_it_is() -> None:
    silent = []
    for module in modules():
        silent += [] if module.__doc__ else [module.__name__]
        for name, one in vars(module).items():
            own = getattr(one, "__module__", None) == module.__name__ and not name.startswith("_")
            if own and (inspect.isclass(one) or inspect.isfunction(one)):
                first = (one.__doc__ or "").strip().split("\n\n")[0]
                silent += [] if first.endswith((".", "?")) or ". " in first else [f"{module.__name__}.{name}"]
                silent += _silent_members(one) if inspect.isclass(one) else []
    assert not silent


def _silent_members(kind: type) -> list[str]:
    members = {name: one for name, one in vars(kind).items() if not name.startswith("_")}
    return [f"{kind.__module__}.{kind.__name__}.{name}" for name, one in members.items()
            if (inspect.isfunction(one) or isinstance(one, property)) and not inspect.getdoc(getattr(kind, name))]  # fmt: skip


@pytest.mark.parametrize("told", [FOREIGN, EXCUSES], ids=["paths of one machine", "excuses"])
def test_nothing_is_left_lying_about(told: re.Pattern[str]) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in tracked("*.py", "*.md", "*.toml", "*.css", "*.js", "Makefile")
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if told.search(line)
    ]
    assert not found


def test_the_readmes_links_lead_somewhere() -> None:
    for page in tracked("*.md"):
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} → {target}"
