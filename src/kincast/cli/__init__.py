"""Cli: thin commands over the library."""
