"""How often a PACS is asked again, and how long we wait in between."""

from __future__ import annotations

from dataclasses import dataclass

_LONGEST_WAIT_S = 30.0


@dataclass(frozen=True)
class Retries:
    """Five attempts, with 0.5, 1, 2 and 4 s between them; a server's own wish (Retry-After) is obeyed up to 30 s."""

    attempts: int = 5
    first_wait_s: float = 0.5

    def wait_s(self, attempt: int, *, asked_s: float = 0.0) -> float:
        """Seconds to wait after failed attempt `attempt` (1, 2, ...), no less than the server asked for."""
        return min(max(self.first_wait_s * 2.0 ** (attempt - 1), asked_s), _LONGEST_WAIT_S)
