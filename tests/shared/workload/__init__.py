"""Tests of Fabric's Workload API."""
