"""Alembic migrations of the results database, shipped with the package."""
