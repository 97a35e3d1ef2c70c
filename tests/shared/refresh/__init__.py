"""Tests of the refresh machine."""
