"""Tests. The docstring of each is the requirement that it proves."""
