"""Operate: gates and promotion of model versions."""
