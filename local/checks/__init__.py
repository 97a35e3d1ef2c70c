"""`unstale check --live`: what each cloud says of the things that a configuration names."""
