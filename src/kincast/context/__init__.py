"""Context: answers without training, learnt on the fly from labels that are known by the instant of the question."""
