"""Each command as a person types it, in a real terminal; golden files that a person can read have what comes back."""
