"""Train: objectives, the loop, checkpoints and baselines."""
