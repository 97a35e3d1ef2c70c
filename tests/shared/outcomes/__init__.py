"""Tests of what is told to others of what became of targets."""
