"""Emulators of the cloud APIs, for the demo and the tests."""
