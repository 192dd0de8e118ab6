"""Search over model plans: suggest one, resolve it to settings, try what it leaves open, keep the best."""
