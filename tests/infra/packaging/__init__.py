"""Packages: what is in them, and that it runs."""
