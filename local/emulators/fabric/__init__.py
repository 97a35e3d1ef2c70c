"""Microsoft Fabric on loopback: the jobs of items, and the other side of the Workload API."""
