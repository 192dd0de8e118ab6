"""Query: predictive query text to a checked task, its labels and their explanation."""
