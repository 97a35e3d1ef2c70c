"""Packages of the two functions: exactly what runs; two of one source differ in when they were made."""
