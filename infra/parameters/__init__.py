"""What the templates take from the configuration."""
