"""The one error class whose text users read."""


class ReparamError(Exception):
    """A user's mistake or a limit of this machine: what is wrong, where, and what to do.

    Its text is shown as it stands, on one line: the command line prints it and exits 2, the dashboard shows it.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = " ".join(problem.split())
        self.remedy = " ".join(remedy.split())
        super().__init__(f"{self.problem} {self.remedy}".strip())
