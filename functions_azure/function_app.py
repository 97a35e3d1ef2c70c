"""The module that the host looks for at the root of the package, where packaging puts this file."""

from functions_azure.app import app

__all__ = ["app"]
