"""Tests of Fabric's workload calls."""
