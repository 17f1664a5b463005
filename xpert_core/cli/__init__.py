"""The ``xpert`` command. Heavy libraries are imported inside the commands, never here."""

from __future__ import annotations


def main() -> None:
    """Run the ``xpert`` command line."""
    from xpert_core.cli.interrupt import hear_every_interrupt

    hear_every_interrupt()
    from xpert_core.cli.application import application

    application()
