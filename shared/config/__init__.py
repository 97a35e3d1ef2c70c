"""The configuration: `unstale.toml` as frozen values, or everything that is wrong with it."""
