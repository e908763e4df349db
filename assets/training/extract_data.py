"""Make the files of `assets/data` from the published packages, with the split written into the data itself.

    python -m assets.training.extract_data --sotu PKG.tgz --moby-dick PKG.tgz --states PKG.tgz \
        --countries PKG.tgz --sentiment vaderSentiment-0.5.zip
"""

import argparse
import csv
import io
import json
import lzma
import random
import re
import tarfile
import zipfile
from pathlib import Path

DATA = Path(__file__).resolve().parents[1] / "data"
HELD_OUT_EVERY = 12  # each twelfth address in file-name order
UNDECIDED_BELOW = 0.5  # sentences whose mean rating lies this near to zero have no label
HELD_OUT_SENTENCES = 1500
SEED = 20240229
STATES = (
    "Alabama,Alaska,Arizona,Arkansas,California,Colorado,Connecticut,Delaware,Florida,Georgia,Hawaii,Idaho,Illinois,"
    "Indiana,Iowa,Kansas,Kentucky,Louisiana,Maine,Maryland,Massachusetts,Michigan,Minnesota,Mississippi,Missouri,"
    "Montana,Nebraska,Nevada,New Hampshire,New Jersey,New Mexico,New York,North Carolina,North Dakota,Ohio,Oklahoma,"
    "Oregon,Pennsylvania,Rhode Island,South Carolina,South Dakota,Tennessee,Texas,Utah,Vermont,Virginia,Washington,"
    "West Virginia,Wisconsin,Wyoming"
).split(",")
RATED = {
    "movie_reviews": "movieReviewSnippets",
    "tweets": "tweets",
    "product_reviews": "amazonReviewSnippets",
    "editorials": "nytEditorialSnippets",
}


def member_bytes(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    if stream is None:
        raise ValueError(f"{member.name} is not a file; is this the right package?")
    return stream.read()


def read_npm(package: Path) -> dict[str, bytes]:
    """Every regular file of an npm tarball, by its path below `package/`."""
    with tarfile.open(package) as archive:
        files = [member for member in archive.getmembers() if member.isfile()]
        return {member.name.split("/", 1)[1]: member_bytes(archive, member) for member in files}


def write_xz(path: Path, text: str) -> None:
    path.write_bytes(lzma.compress(text.encode("utf-8"), preset=9 | lzma.PRESET_EXTREME))


def table(rows: list[list[str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def addresses(package: Path) -> str:
    """One JSON line per address; whole documents are held out, never parts of one."""
    files = read_npm(package)
    names = sorted(name for name in files if re.fullmatch(r"data/\d{4}_.*\.txt", name))
    lines = []
    for index, name in enumerate(names):
        document = name.removeprefix("data/")
        split = "held_out" if index % HELD_OUT_EVERY == HELD_OUT_EVERY - 1 else "train"
        text = files[name].decode("utf-8").strip()
        entry = {"document": document, "year": int(document[:4]), "split": split, "text": text}
        lines.append(json.dumps(entry, ensure_ascii=False))
    return "\n".join(lines) + "\n"


def moby_dick(package: Path) -> str:
    files = read_npm(package)
    chapters = [name for name in files if re.fullmatch(r"data/chapter_\d+\.txt", name)]
    chapters.sort(key=lambda name: int(re.findall(r"\d+", name)[0]))
    parts = ["data/etymology.txt", "data/extracts.txt", *chapters, "data/epilogue.txt"]
    return "\n\n".join(files[name].decode("utf-8").strip() for name in parts) + "\n"


def rated_sentences(source: Path, stem: str) -> list[list[str]]:
    """[id, mean rating, text] of one ground-truth table inside the sdist's inner archive."""
    with zipfile.ZipFile(source) as archive:
        inner = next(name for name in archive.namelist() if name.endswith("hutto_ICWSM_2014.tar.gz"))
        with tarfile.open(fileobj=io.BytesIO(archive.read(inner))) as tables:
            member = next(m for m in tables.getmembers() if m.name.endswith(f"/{stem}_GroundTruth.txt"))
            raw = member_bytes(tables, member)
    rows = [line.split("\t", 2) for line in raw.decode("utf-8").split("\r\n") if line]
    return [[identity, rating, " ".join(text.split())] for identity, rating, text in rows]


def movie_splits(sentences: list[list[str]]) -> list[str]:
    """The undecided are set apart; of the rest a fixed sample is held out, a repeated text never on both sides."""
    decided = {text for _, rating, text in sentences if abs(float(rating)) > UNDECIDED_BELOW}
    held_out = set(random.Random(SEED).sample(sorted(decided), HELD_OUT_SENTENCES))
    return ["held_out" if text in held_out else "train" if text in decided else "undecided" for _, _, text in sentences]


def rated_table(source: Path, name: str) -> str:
    sentences = rated_sentences(source, RATED[name])
    splits = movie_splits(sentences) if name == "movie_reviews" else ["train"] * len(sentences)
    body = [[identity, rating, split, text] for (identity, rating, text), split in zip(sentences, splits, strict=True)]
    return table([["id", "rating", "split", "text"], *body])


def state_capitals(package: Path) -> str:
    """The package lists the capitals in the alphabetical order of their states."""
    capitals = json.loads(read_npm(package)["data/data.json"])
    return table([["state", "capital"], *([state, city] for state, city in zip(STATES, capitals, strict=True))])


def country_capitals(package: Path) -> str:
    rows = csv.DictReader(io.StringIO(read_npm(package)["countries.csv"].decode("utf-8")))
    return table([["country", "capital"], *([row["Name"], row["Capital"]] for row in rows if row["Capital"])])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("sotu", "moby-dick", "states", "countries", "sentiment"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=DATA)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    write_xz(out / "addresses.jsonl.xz", addresses(arguments.sotu))
    write_xz(out / "moby_dick.txt.xz", moby_dick(arguments.moby_dick))
    for name in RATED:
        write_xz(out / f"{name}.csv.xz", rated_table(arguments.sentiment, name))
    (out / "state_capitals.csv").write_text(state_capitals(arguments.states), encoding="utf-8")
    (out / "country_capitals.csv").write_text(country_capitals(arguments.countries), encoding="utf-8")


if __name__ == "__main__":
    main()
