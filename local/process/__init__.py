"""`unstale run`: the engine as a process on one's own machine, with its state in one SQLite file."""
