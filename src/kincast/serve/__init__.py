"""Serve: predictions and embeddings over HTTP."""
