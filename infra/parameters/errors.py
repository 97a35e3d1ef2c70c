"""Why parameters cannot be made or put where they belong."""


class ParameterError(Exception):
    """The templates' parameters cannot be made of this configuration, or not be written; the message says why."""
