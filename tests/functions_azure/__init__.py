"""Tests of the function app."""
