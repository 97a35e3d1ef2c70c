"""How a command ends other than well; `cli.py` turns these into exit codes."""


class NotWell(Exception):  # noqa: N818 - it is an answer
    """The thing asked about is not well: exit code 1. The message is empty where the answer is printed already."""


class WrongUsage(Exception):  # noqa: N818 - named for what it is
    """The command cannot be carried out as it was given: exit code 2."""
