"""The core of unstale: values in, values out. No I/O, no clock, no randomness, no environment, no cloud SDK."""
