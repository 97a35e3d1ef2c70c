"""Packages of the two functions: exactly what runs, the same bytes every time."""
