"""Testing: tiny databases and planted signals, for users too."""
