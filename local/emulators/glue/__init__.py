"""Glue on loopback: the refreshes of materialized views."""
