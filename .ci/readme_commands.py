"""The commands of README.md and docs/, as scripts that stages of .ci/run run.

Each ```bash block stands behind `<!-- ci: STAGE -->`, or behind `<!-- ci: parse: REASON -->` where CI cannot run it:
then a test at least has the command line's parser read it. A ```text block behind `<!-- output -->` is what the bash
block before it prints: `--compare` holds the two against each other, numbers and hashes aside, `...` standing for any
lines.

    readme_commands.py README.md STAGE             the blocks of STAGE as one script
    readme_commands.py --check FILE ...            name each block that nothing runs
    readme_commands.py --compare FILE FOLDER       compare what the script left in FOLDER with what the page shows
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STAGES = ("test", "demo", "own-data", "pacs", "docs", "bfloat16")
LANGUAGES = ("bash", "python", "yaml", "json", "text")
OUTPUT = "output"
_BLOCK = re.compile(
    r"(?:^<!-- (?P<marker>[^\n]+?) -->\n)?^```(?P<language>\S*)[^\n]*\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE
)
_VARYING = re.compile(r"\b[0-9a-f]{12,64}\b|\d+(\.\d+)?(e[-+]?\d+)?")


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, what stands in it, and the comment before it."""

    language: str
    body: str
    marker: str | None

    @property
    def stage(self) -> str | None:
        """The stage of .ci/run; "parse" where the marker gives a reason; None where it says neither."""
        named = re.fullmatch(r"ci: (\S+?)(: (?P<reason>.{10,}))?", self.marker or "")
        if named is None or (named[1] == "parse") != (named["reason"] is not None):
            return None
        return named[1] if named[1] in (*STAGES, "parse") else None


def blocks(text: str) -> list[Block]:
    """All fenced blocks of a page, in order."""
    return [Block(found["language"], found["body"], found["marker"]) for found in _BLOCK.finditer(text)]


def script(text: str, stage: str) -> str:
    """The blocks of `stage` one after the other; each command is shown before it runs.

    What a block prints whose output the page shows goes to a file too, in the folder $OUTPUTS.
    """
    lines = ["PS4='$ '\nset -x\n"]
    for number, (block, shown) in enumerate(_with_output(text)):
        if block.language == "bash" and block.stage == stage:
            kept = f'"$OUTPUTS/{number}.txt"'
            lines.append(f"{{\n{block.body}}} > {kept}\ncat {kept}\n" if shown is not None else block.body)
    return "".join(lines)


def _with_output(text: str) -> Iterator[tuple[Block, str | None]]:
    """Each block, with the output that the page shows of it."""
    found = blocks(text)
    for number, block in enumerate(found):
        after = found[number + 1] if number + 1 < len(found) else None
        yield block, after.body if after is not None and after.marker == OUTPUT else None


def complaints(path: Path) -> Iterator[str]:
    """What nothing runs or checks in a page, or what stands where nothing would find it."""
    text = path.read_text(encoding="utf-8")
    if re.search(r"^[ >]+```", text, re.MULTILINE):
        yield f"{path}: a fence is indented: no stage would find it"
    for block, shown in _with_output(text):
        first = block.body.partition("\n")[0]
        if block.language not in LANGUAGES:
            yield f"{path}: a block of no known language ({', '.join(LANGUAGES)}): {first}"
        if block.language == "bash" and block.stage is None:
            yield f"{path}: no stage of .ci/run runs this block: {first}"
        if block.language == "text" and re.search(r"^(\$ |medseg )", block.body, re.MULTILINE):
            yield f"{path}: commands in a block of text: {first}"
        if shown is not None and block.language != "bash":
            yield f"{path}: an output without the commands that print it: {first}"


def compare(page: Path, folder: Path) -> Iterator[str]:
    """Where a page shows another output than the commands gave."""
    for number, (block, shown) in enumerate(_with_output(page.read_text(encoding="utf-8"))):
        if shown is not None and block.stage == "docs":
            printed = (folder / f"{number}.txt").read_text(encoding="utf-8")
            if not _agree(shown, printed):
                yield f"{page}: the page shows\n{shown}but this was printed\n{printed}"


def _agree(shown: str, printed: str) -> bool:
    parts = [_masked(part) for part in re.split(r"^ *\.\.\.$\n?", shown, flags=re.MULTILINE)]
    return re.fullmatch(".*".join(map(re.escape, parts)), _masked(printed), re.DOTALL) is not None


def _masked(text: str) -> str:
    lines = (_VARYING.sub("0", " ".join(line.split())) for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines)


def main(*words: str) -> int:
    """Write a script, or complain on standard error; the exit code."""
    if words[0] == "--check":
        found = [text for name in words[1:] for text in complaints(Path(name))]
    elif words[0] == "--compare":
        found = list(compare(Path(words[1]), Path(words[2])))
    else:
        sys.stdout.write(script(Path(words[0]).read_text(encoding="utf-8"), words[1]))
        return 0
    sys.stderr.write("".join(f"{text}\n" for text in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
