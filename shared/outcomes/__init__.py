"""Outcome events: telling others what became of targets, in several formats, by several ways."""
