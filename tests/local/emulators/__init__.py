"""Tests of the emulators, by their vendors' judges."""
