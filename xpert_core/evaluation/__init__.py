"""Scores of predictions, their nulls and their intervals."""
