"""Stages that take a package or a template all the way; `make e2e-aws` installs what they need."""
