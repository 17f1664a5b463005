"""The ``xpert`` command. Heavy libraries are imported inside the commands, never here."""

from __future__ import annotations

import sys

EXIT_INTERRUPTED = 130
"""Exit status after Ctrl-C, as a shell gives it."""


def main() -> None:
    """Run the ``xpert`` command line."""
    try:
        from xpert_core.cli.interrupt import hear_every_interrupt

        hear_every_interrupt()
        from xpert_core.cli.application import application

        application()
    except KeyboardInterrupt:  # before a command began
        sys.exit(EXIT_INTERRUPTED)
