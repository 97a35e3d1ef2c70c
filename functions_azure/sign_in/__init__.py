"""A signed-in user: tokens by refresh, the sealed file that keeps the sign-in, and the vault that opens it."""
