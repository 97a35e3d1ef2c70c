"""What only tests use: hosts, servers, builders."""
