"""Templates, their parameters, and packages."""
