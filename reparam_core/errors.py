"""The one error class whose text users read, and how their own words are repeated in it."""

import re

MOST_QUOTED = 80  # characters of what a user gave: enough to know it again
MOST_TOLD = 400  # of a problem or a remedy, whatever it lists


class ReparamError(Exception):
    """A user's mistake or a limit of this machine: what is wrong, where, and what to do.

    Its text is shown as it stands, on one line: the command line prints it and exits 2, the dashboard shows it.
    `topic` names a remedy that depends on the controls at hand: a page has its own words for it.
    """

    def __init__(self, problem: str, remedy: str = "", topic: str = "") -> None:
        self.problem, self.remedy = (shortened(_one_line(one), MOST_TOLD) for one in (problem, remedy))
        self.topic = topic
        super().__init__(f"{self.problem} {self.remedy}".strip())


def _one_line(text: str) -> str:
    """On one line, with one full stop at its end: a library's own words, repeated in it, may bring another."""
    return re.sub(r"(?<!\.)\.\.$", ".", " ".join(text.split()))


def shortened(text: str, most: int) -> str:
    """The text, without its middle where it is longer; more of its end is kept, where a path says what it is of."""
    start = 3 * most // 8
    return text if len(text) <= most else f"{text[:start]} … {text[start - most :]}"


def quoted(given: object) -> str:
    """What a user gave, in quotation marks: of anything long only the ends."""
    return f"'{shortened(str(given), MOST_QUOTED)}'"
