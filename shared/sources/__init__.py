"""Looking at the sources: what one request sees, which version a source has, and what follows from it (design, 9)."""
