"""Tests of templates and packages."""
