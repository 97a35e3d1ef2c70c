"""Tests of `check --live`."""
