"""AWS on loopback: moto, and a Lambda in front of it."""
