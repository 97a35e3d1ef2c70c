"""Parameters that the templates take from the configuration."""
