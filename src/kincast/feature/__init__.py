"""Feature: columns to numbers; statistics fitted on the training period only."""
