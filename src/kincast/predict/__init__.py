"""Predict: batch and online predictions from one code path."""
