"""Tests of the two APIs as values."""
