"""Written dates and their ISO form: the phrasings, the split, and the rows that ship."""

import calendar
import datetime
import hashlib
import random
from dataclasses import dataclass

FIRST_YEAR, LAST_YEAR = 1600, 2099
UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
ORDINALS = (
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
    "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
).split()
PHRASINGS = {
    "train": (
        "the {ordinal} of {month}, {year}",
        "the {ordinal} of {month} {year}",
        "the {ordinal} day of {month}, {year}",
        "the {ordinal} of {month} in the year {year}",
        "the {ordinal} of {month}, {year_words}",
        "the {th} of {month}, {year}",
        "the {th} of {month} {year}",
        "the {th} day of {month}, {year}",
        "the {th} of {short} {year}",
        "{weekday}, the {th} of {month}, {year}",
        "{weekday} the {ordinal} of {month}, {year_words}",
        "on the {ordinal} of {month}, {year}",
        "on the {th} of {month} {year}",
        "on {month} {day}, {year}",
        "on {weekday}, {month} {day}, {year}",
        "{month} the {ordinal}, {year}",
        "{month} the {ordinal}, {year_words}",
        "{month} {ordinal}, {year_words}",
        "{month} {ordinal}, {year}",
        "{month} {day}, {year}",
        "{month} {th}, {year}",
        "{month} {day} {year}",
        "{month} {day}, {year_words}",
        "{short} {day}, {year}",
        "{short} {th}, {year}",
        "{day} {month} {year}",
        "{day} {short} {year}",
        "{day}-{short}-{year}",
        "{th} {month} {year}",
        "{th} of {month}, {year}",
        "{ordinal} of {month} {year_words}",
        "{year}, {month} {day}",
        "{year} {short} {day}",
        "in {year}, on the {ordinal} of {month}",
        "in {year} on {month} {day}",
        "in the year {year}, on {month} {th}",
        "in the year {year_words}, the {th} of {month}",
        "in {month} of {year}, on the {th}",
        "in {month} {year}, on the {ordinal}",
        "dated {month} {day}, {year}",
        "dated the {ordinal} of {month}, {year}",
        "signed on {day} {month} {year}",
        "{weekday}, {month} {day}, {year}",
        "{weekday}, {day} {month} {year}",
        "{weekday} {short} {day} {year}",
        "{month} {day} of the year {year}",
        "this {ordinal} day of {month}, {year_words}",
        "this {th} of {month}, {year}",
    ),
    "held_out": (
        "on this {ordinal} day of {month}, {year}",
        "this {th} day of {month} in the year {year}",
        "{weekday}, the {ordinal} of {month} {year}",
        "on {weekday} the {th} of {month}, {year}",
        "the {th} of {month} in the year {year_words}",
        "in the year {year}, on the {ordinal} of {month}",
        "on {day} {month}, {year}",
        "dated {weekday}, {month} {th}, {year}",
        "signed on the {ordinal} of {month}, {year_words}",
        "{month} the {th}, {year}",
        "{year}, the {th} of {month}",
        "in {month} {year_words}, on the {th}",
    ),
}


@dataclass(frozen=True)
class WrittenDate:
    """One row of `dates.csv`."""

    text: str
    iso: str
    phrasing: str
    split: str


def below_hundred(number: int) -> str:
    if number < 20:
        return UNITS[number]
    tens, units = divmod(number, 10)
    return TENS[tens] + (f"-{UNITS[units]}" if units else "")


def year_words(year: int, draw: random.Random) -> str:
    """ "eighteen sixty-one" or "eighteen hundred and sixty-one"; years after 2000 may say the thousand."""
    century, rest = divmod(year, 100)
    if century == 20 and (rest < 10 or draw.random() < 0.5):
        return "two thousand" + (f" and {below_hundred(rest)}" if rest else "")
    if rest == 0:
        return f"{below_hundred(century)} hundred"
    if rest < 10:
        return f"{below_hundred(century)} {draw.choice(['oh', 'hundred and'])} {below_hundred(rest)}"
    return f"{below_hundred(century)} {draw.choice(['', '', 'hundred and '])}{below_hundred(rest)}"


def ordinal(day: int) -> str:
    if day <= 20:
        return ORDINALS[day]
    return "thirtieth" if day == 30 else f"{TENS[day // 10]}-{ORDINALS[day % 10]}"


def with_suffix(day: int) -> str:
    suffix = "th" if 10 < day < 20 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{day}{suffix}"


def write_out(date: datetime.date, phrasing: str, draw: random.Random) -> str:
    month = calendar.month_name[date.month]
    short = month if len(month) < 4 else month[:3] + draw.choice(["", "."])
    text = phrasing.format(
        day=date.day,
        th=with_suffix(date.day),
        ordinal=ordinal(date.day),
        month=month,
        short=short,
        year=date.year,
        year_words=year_words(date.year, draw) if "year_words" in phrasing else "",
        weekday=calendar.day_name[date.weekday()],
    )
    return text[0].upper() + text[1:] if draw.random() < 0.3 else text


def is_held_out(date: datetime.date) -> bool:
    """About one date in twenty, chosen by its own digest, is never trained on in any phrasing."""
    return hashlib.sha256(date.isoformat().encode()).digest()[0] < 13


def draw_date(draw: random.Random, held_out: bool) -> datetime.date:
    first = datetime.date(FIRST_YEAR, 1, 1).toordinal()
    last = datetime.date(LAST_YEAR, 12, 31).toordinal()
    while True:
        date = datetime.date.fromordinal(draw.randint(first, last))
        if is_held_out(date) is held_out:
            return date


def draw_row(draw: random.Random, split: str) -> WrittenDate:
    """A held-out phrasing always comes with a held-out date: both are unseen at once."""
    phrasing = draw.choice(PHRASINGS["held_out" if split == "held_out_phrasing" else "train"])
    date = draw_date(draw, held_out=split != "train")
    return WrittenDate(write_out(date, phrasing, draw), date.isoformat(), phrasing, split)


def shipped_rows(seed: int = 1861) -> list[WrittenDate]:
    """A sample of the training distribution, then both held-out sets."""
    draw = random.Random(seed)
    counts = {"train": 3000, "held_out_date": 1500, "held_out_phrasing": 1500}
    return list(dict.fromkeys(draw_row(draw, split) for split, count in counts.items() for _ in range(count)))
