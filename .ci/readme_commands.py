"""The README's commands of one stage of .ci/run, as a script: each ```bash block stands behind `<!-- ci: STAGE -->`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

STAGES = ("test", "demo", "own-data", "pacs")
_BLOCK = re.compile(r"(?:<!-- ci: (?P<stage>\S+) -->\n)?```bash\n(?P<commands>.*?)```", re.DOTALL)


def blocks(text: str) -> list[tuple[str | None, str]]:
    """(stage or None, commands) of each bash block, in order."""
    return [(found["stage"], found["commands"]) for found in _BLOCK.finditer(text)]


def script(text: str, stage: str) -> str:
    """The blocks of `stage` one after the other; each command is shown before it runs."""
    return "PS4='$ '\nset -x\n" + "".join(commands for name, commands in blocks(text) if name == stage)


def main(readme: str, stage: str) -> int:
    """Write the script of `stage`; with --check, name each block that no stage would run."""
    text = Path(readme).read_text(encoding="utf-8")
    if stage != "--check":
        sys.stdout.write(script(text, stage))
        return 0
    unknown = [commands for name, commands in blocks(text) if name not in STAGES]
    for commands in unknown:
        sys.stderr.write(f"{readme}: no stage of .ci/run runs this block:\n{commands}")
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
