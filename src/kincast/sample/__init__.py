"""Sample: temporal neighbour sampling, batches and their loader."""
