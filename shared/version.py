"""Which release this is: said by `unstale --version`, in log lines, and in each package's list of parts."""

VERSION = "0.1.0"
"""Semantic version. A release is tagged `v` and this; hatch reads it from here."""
