"""Monitor: drift of new data against what a model was trained on."""
