"""Fabric's three workload calls: who is let in, and what is answered."""
