"""Tables between marks in benchmarks/README.md."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def put(name: str, text: str) -> None:
    """Between `<!-- name -->` and `<!-- end of name -->`."""
    readme, start, end = FOLDER / "README.md", f"<!-- {name} -->", f"<!-- end of {name} -->"
    head, _, rest = readme.read_text(encoding="utf-8").partition(start)
    readme.write_text(f"{head}{start}\n{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")


def table(heading: list[str], rows: list[list[str]]) -> str:
    """In Markdown."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
