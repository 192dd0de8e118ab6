"""Registry: runs, model versions and their aliases."""
