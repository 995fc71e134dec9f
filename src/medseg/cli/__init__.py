"""`medseg <verb>`: arguments, logging, exit codes; no logic.

Nothing heavy is imported before a command runs, so that help answers at once: each handler imports what it needs.
"""

from medseg.cli.entry import main, script

__all__ = ["main", "script"]
