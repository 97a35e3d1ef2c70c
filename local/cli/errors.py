"""How a command ends other than well: `main` turns these into exit codes, and into JSON where that is asked for."""


class NotWellError(Exception):
    """The thing asked about is not well: exit code 1. The message is empty where the answer is printed already."""


class UsageError(Exception):
    """The command cannot be carried out as it was given: exit code 2."""


class MisusedError(UsageError):
    """The arguments do not read as a command; `usage` is how they would."""

    def __init__(self, usage: str, message: str) -> None:
        self.usage = usage
        super().__init__(message)
