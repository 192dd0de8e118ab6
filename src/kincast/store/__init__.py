"""Store: embeddings and predictions, published atomically, looked up by key."""
