"""The simulator: the shipped loop over a world that is made of faults, and judged only by what the world saw."""
