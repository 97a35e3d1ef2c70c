"""Microsoft Entra on loopback: tenants, apps, identities, users and their tokens."""
