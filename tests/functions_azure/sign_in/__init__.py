"""Tests of a signed-in user."""
