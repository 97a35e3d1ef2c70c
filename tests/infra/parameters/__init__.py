"""Parameters: what templates take from the configuration."""
