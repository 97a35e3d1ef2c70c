"""Fabric asks us: its Workload API, the jobs that it asks for, and whom its calls are from."""
