"""Recipes that build what ships."""
