"""Tests of templates, packages and parameters."""
