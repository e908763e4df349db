"""Run the benchmarks: a table, and with `--write` also results.json and the table of benchmarks/README.md."""

import argparse
import json
import os
import platform
import subprocess
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version

import psutil
from playwright.sync_api import Error as PlaywrightError

from benchmarks import browser, calibrated, engine, memory
from benchmarks.readme import FOLDER, put, table
from benchmarks.timing import Row
from reparam_core import ReparamError

ALL: dict[str, Callable[[int], Iterator[Row]]] = {
    "first-estimate": engine.first_estimate,
    "applying": engine.applying,
    "evaluating": engine.evaluating,
    "naive": engine.naive,
    "precision": engine.precision,
    "preparing": engine.preparing,
    "reading": calibrated.reading,
    "stepping": calibrated.stepping,
    "sensing": calibrated.sensing,
    "memory": memory.private,
    "slider": browser.slider,
}
RESULTS = FOLDER / "results.json"
HEADING = ["what", "measured", "target", "reached", "", "when"]


def machine() -> str:
    """What the figures were measured on, in a line."""
    memory_gb = psutil.virtual_memory().total / 1e9
    return (f"{os.cpu_count()} cores ({platform.machine()}, {platform.system()}), {memory_gb:.0f} GB, "
            f"torch {version('torch')}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} at the start")  # fmt: skip


def measured(names: list[str], runs: int) -> Iterator[tuple[str, Row]]:
    """Every row with its benchmark's name; one that fails is told, and the others go on."""
    for name in names:
        try:
            for row in ALL[name](runs):
                print(" | ".join(row.cells()), flush=True)
                yield name, row
        except (RuntimeError, OSError, ReparamError, TimeoutError, subprocess.SubprocessError, PlaywrightError):
            traceback.print_exc()
            yield name, Row(f"{name} failed", float("nan"), "", 0, note="see the output")


def write(found: list[tuple[str, Row]], where: str) -> None:
    """results.json, and the table between its marks; of benchmarks that were not run the rows of before stay."""
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    new = [row.to_json() | {"benchmark": name, "measured": now, "machine": where} for name, row in found]
    run = {name for name, _ in found}
    before = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    rows = sorted(
        [*(one for one in before if one["benchmark"] not in run), *new],
        key=lambda one: list(ALL).index(one["benchmark"]),
    )
    RESULTS.write_text(json.dumps({"rows": rows}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    put("table", table(HEADING, [[*Row.of(one).cells(), one["measured"]] for one in rows]))


def main() -> None:
    """Parse, measure, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=list(ALL), default=list(ALL))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    where = machine()
    print(where)
    found = list(measured(arguments.only, arguments.runs))
    print(json.dumps({"machine": where, "rows": [row.to_json() for _, row in found]}, ensure_ascii=False))
    if arguments.write:
        write(found, where)


if __name__ == "__main__":
    main()
