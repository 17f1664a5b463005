"""Tokens of expression, drugs and conditions, and the batch a model takes."""
