"""Explanations: what the network attends to and depends on, each beside its nulls."""
