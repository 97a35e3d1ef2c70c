"""Tests of what runs on one's own machine."""
