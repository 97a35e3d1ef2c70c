"""How a command ends other than well; `cli.py` turns these into exit codes."""


class NotWellError(Exception):
    """The thing asked about is not well: exit code 1. The message is empty where the answer is printed already."""


class UsageError(Exception):
    """The command cannot be carried out as it was given: exit code 2."""
