"""The APIs of the two platforms as values: requests out, answers and errors in."""
