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
HEADING = ["what", "measured", "target", "reached", ""]


def machine() -> str:
    """What the figures were measured on, in a line."""
    memory_gb = psutil.virtual_memory().total / 1e9
    return (f"{os.cpu_count()} cores ({platform.machine()}, {platform.system()}), {memory_gb:.0f} GB, "
            f"torch {version('torch')}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} at the start")  # fmt: skip


def measured(names: list[str], runs: int) -> Iterator[Row]:
    """Every row; one benchmark that fails is told, and the others go on."""
    for name in names:
        try:
            for row in ALL[name](runs):
                print(" | ".join(row.cells()), flush=True)
                yield row
        except (RuntimeError, OSError, ReparamError, TimeoutError, subprocess.SubprocessError, PlaywrightError):
            traceback.print_exc()
            yield Row(f"{name} failed", float("nan"), "", 0, note="see the output")


def write(rows: list[Row], where: str) -> None:
    """results.json, and the table between its marks."""
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    found = {"machine": where, "measured": now, "rows": [row.to_json() for row in rows]}
    (FOLDER / "results.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    put("table", f"Measured {now} on {where}.\n\n" + table(HEADING, [row.cells() for row in rows]))


def main() -> None:
    """Parse, measure, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=list(ALL), default=list(ALL))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    where = machine()
    print(where)
    rows = list(measured(arguments.only, arguments.runs))
    print(json.dumps({"machine": where, "rows": [row.to_json() for row in rows]}, ensure_ascii=False))
    if arguments.write:
        write(rows, where)


if __name__ == "__main__":
    main()
