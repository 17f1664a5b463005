"""Explanations: what a prediction rests on, each with the null that tells signal from habit."""
