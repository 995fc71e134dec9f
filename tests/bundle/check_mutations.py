"""Single mistakes planted in the bundles that ship: a seeded generator, independent of the check that has to find them.

`python tests/bundle/check_mutations.py [--seed N] [--each N]` prints how many of each kind are found, and all that are
not.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

SEED = 20261121
EACH = 3
"""Mistakes of each kind in each bundle, where there are so many places for it."""
BUNDLES = ("ct_lung", "ct_sarcoma", "cxr_heart_lung", "mr_hippocampus")
FILES = ("common.yaml", "train.yaml", "evaluate.yaml", "inference.yaml")

_ENTRY = re.compile(r"^( *)(- )?([\w:+]+): ?(.*)$")
_PROTECTED = re.compile(r"^\s*#|^\s*$")


@dataclass(frozen=True)
class Line:
    """A line of a file: `number` from 1 on, `key` and `value` of a mapping's entry, `depth` in columns."""

    file: str
    number: int
    depth: int
    key: str
    value: str


@dataclass(frozen=True)
class Mistake:
    """One change of one file.

    Attributes
    ----------
    lines
        Where it may be told, in the file after the change: where it stands; of what was deleted, where it is missed.
    """

    kind: str
    bundle: str
    file: str
    before: str
    after: str
    text: str
    lines: frozenset[tuple[str, int]]

    def __str__(self) -> str:
        return f"{self.kind}: {self.bundle}/{self.file}: {self.before.strip()} -> {self.after.strip() or '(deleted)'}"


def mistakes(root: Path, *, seed: int = SEED, each: int = EACH) -> list[Mistake]:
    """All planted mistakes, the same in each run."""
    found: list[Mistake] = []
    for bundle in BUNDLES:
        for kind, make in KINDS.items():
            draw = random.Random(f"{seed} {bundle} {kind}")
            pool = list(make(_Bundle(root / bundle, kind), draw))
            draw.shuffle(pool)
            found += pool[:each]
    return list({(one.bundle, one.file, one.text): one for one in found}.values())


class _Bundle:
    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.kind = folder, kind
        names = (*FILES, "metadata.json")
        self.texts = {name: (folder / "configs" / name).read_text(encoding="utf-8").splitlines() for name in names}

    def entries(self, *files: str) -> Iterator[Line]:
        for file in files or FILES:
            for number, line in enumerate(self.texts[file], 1):
                match = None if _PROTECTED.match(line) else _ENTRY.match(line)
                if match:
                    depth = len(match.group(1)) + (2 if match.group(2) else 0)
                    yield Line(file, number, depth, match.group(3), re.sub(r"\s+# .*$", "", match.group(4)))

    def component_of(self, line: Line) -> Line | None:
        """The `_target_` of the mapping that an entry stands in."""
        for number in range(line.number - 1, 0, -1):
            match = _ENTRY.match(self.texts[line.file][number - 1])
            if match is None:
                continue
            depth = len(match.group(1)) + (2 if match.group(2) else 0)
            if depth < line.depth:
                return None
            if depth == line.depth and match.group(3) == "_target_":
                return Line(line.file, number, depth, "_target_", match.group(4))
        return None

    def change(self, line: Line, old: str, new: str, *, more: frozenset[tuple[str, int]] = frozenset()) -> Mistake:
        before = self.texts[line.file][line.number - 1]
        after = before.replace(old, new, 1)
        assert after != before, (before, old, new)
        return self._mistake(line, before, after, frozenset({(line.file, line.number)}) | more)

    def delete(self, line: Line, where: frozenset[tuple[str, int]]) -> Mistake:
        moved = {(f, n - 1 if f == line.file and n > line.number else n) for f, n in where}
        return self._mistake(line, self.texts[line.file][line.number - 1], "", frozenset(moved))

    def _mistake(self, line: Line, before: str, after: str, where: frozenset[tuple[str, int]]) -> Mistake:
        lines = list(self.texts[line.file])
        lines[line.number - 1 : line.number] = [after] if after else []
        text = "\n".join(lines) + "\n"
        return Mistake(self.kind, self.folder.name, line.file, before, after, text, where)

    def users(self, name: str) -> frozenset[tuple[str, int]]:
        """Lines that refer to an id."""
        mark = re.compile(rf"[@%]{re.escape(name)}(?![\w])")
        return frozenset((f, n) for f in FILES for n, line in enumerate(self.texts[f], 1) if mark.search(line))


def misspell(word: str, draw: random.Random) -> str:
    """A slip of the fingers in the letters of a word: one lost, doubled, swapped with the next, or another one."""
    places = [i for i, letter in enumerate(word) if letter.isalpha()]
    for _ in range(50):
        i = draw.choice(places)
        slips = [
            word[:i] + word[i + 1 :],
            word[: i + 1] + word[i:],
            word[:i] + word[i + 1 : i + 2] + word[i] + word[i + 2 :],
            word[:i] + draw.choice("aeiorstnl") + word[i + 1 :],
        ]
        made = draw.choice(slips)
        if made != word and made.lower() != word.lower() and made:
            return made
    raise AssertionError(word)


def arguments(bundle: _Bundle, draw: random.Random) -> Iterator[Mistake]:
    """prob -> prbo"""
    for line in bundle.entries():
        if line.key[0] != "_" and bundle.component_of(line) is not None:
            yield bundle.change(line, f"{line.key}:", f"{misspell(line.key, draw)}:")


def target_keys(bundle: _Bundle, draw: random.Random) -> Iterator[Mistake]:
    """_target_ -> _targt_"""
    for line in bundle.entries():
        if line.key == "_target_":
            yield bundle.change(line, "_target_", misspell("_target_", draw))


def ids(bundle: _Bundle, draw: random.Random) -> Iterator[Mistake]:
    """epochs -> epoch, at the top or in a section; it may also be told where it is missed."""
    for line in bundle.entries():
        section = next(
            (x for x in reversed(list(bundle.entries(line.file))) if x.depth == 0 and x.number < line.number), None
        )
        inside = line.depth == 2 and section is not None and section.key in ("train", "validate")
        if (line.depth == 0 and line.key != "imports") or inside:
            yield bundle.change(line, f"{line.key}:", f"{misspell(line.key, draw)}:")


def targets(bundle: _Bundle, draw: random.Random) -> Iterator[Mistake]:
    """UNet -> UNett, medseg.training.Board -> medseg.trainig.Board"""
    for line in bundle.entries():
        if line.key == "_target_":
            part = draw.choice(line.value.split("."))
            yield bundle.change(line, part, misspell(part, draw))


def references(bundle: _Bundle, draw: random.Random) -> Iterator[Mistake]:
    """@network -> @netwrok, in values and in expressions"""
    for line in bundle.entries():
        found = re.findall(r"[@%]([a-z_]\w*(?:::\w+)*)", line.value)
        for name in found[:1]:
            part = draw.choice(name.split("::"))
            sign = line.value[line.value.index(name) - 1]
            yield bundle.change(line, f"{sign}{name}", f"{sign}{name.replace(part, misspell(part, draw), 1)}")


def expression_names(bundle: _Bundle, draw: random.Random) -> Iterator[Mistake]:
    """torch.uint8 -> torch.unit8, os.path.join -> os.path.jion, @network.parameters() -> @network.paramters()"""
    for line in bundle.entries():
        for chain in re.findall(r"(?<![@:\w'])(?:torch|os|monai|len|list|str)(?:\.\w+)*", line.value)[:1]:
            if line.value.startswith("$"):
                part = draw.choice(chain.split("."))
                yield bundle.change(line, chain, chain.replace(part, misspell(part, draw), 1))
        member = re.search(r"@[\w:]+\.(\w+)", line.value)
        if member and line.value.startswith("$"):
            yield bundle.change(line, f".{member.group(1)}", f".{misspell(member.group(1), draw)}")


def syntax(bundle: _Bundle, draw: random.Random) -> Iterator[Mistake]:
    """A bracket lost in an expression."""
    for line in bundle.entries():
        if line.value.startswith("$") and ")" in line.value:
            yield bundle.change(line, ")", "")


def text_for_number(bundle: _Bundle, draw: random.Random) -> Iterator[Mistake]:
    """epochs: 14 -> "14"; 1.0e-3 -> 1e-3"""
    for line in bundle.entries():
        if re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", line.value) and line.key != "_target_":
            plain = re.sub(r"\.0e", "e", line.value)
            yield bundle.change(line, f": {line.value}", f": {plain}" if plain != line.value else f': "{line.value}"')


def text_for_boolean(bundle: _Bundle, draw: random.Random) -> Iterator[Mistake]:
    """true -> "True" """
    for line in bundle.entries():
        if line.value in ("true", "false"):
            yield bundle.change(line, f": {line.value}", f': "{line.value.title()}"')


def wrong_types(bundle: _Bundle, draw: random.Random) -> Iterator[Mistake]:
    """A word, a list or a boolean for a number; a number for a list or a word."""
    for line in bundle.entries():
        if bundle.component_of(line) is None and line.depth > 0:
            continue
        if re.fullmatch(r"-?\d+(\.\d+)?", line.value):
            yield bundle.change(line, f": {line.value}", f": {draw.choice(['many', '[[1, 2]]', 'true', '{}'])}")
        elif re.fullmatch(r"\[[\d., ]+\]", line.value):
            yield bundle.change(line, f": {line.value}", f": {draw.choice(['wide', '{a: 1}', '[x, y, z]'])}")
        elif line.value in ("true", "false"):
            yield bundle.change(line, f": {line.value}", f": {draw.choice(['often', '[1, 0]'])}")


def lost_arguments(bundle: _Bundle, draw: random.Random) -> Iterator[Mistake]:
    """An argument without default is deleted: told at its component."""
    needed = (
        "spatial_dims",
        "in_channels",
        "strides",
        "keys",
        "network",
        "path",
        "device",
        "roi_size",
        "loading",
        "inferer",
    )
    needed += (
        "optimizer",
        "labels",
        "T_max",
        "run_dir",
        "evaluator",
        "dataset",
        "max_epochs",
        "params",
        "b_min",
        "datalist",
    )
    needed += ("interval", "loss_function", "preprocessing", "spacing_mm", "window", "segmenter", "output_dir", "model")
    optional = {"Foreground", "DataLoader", "RandFlipd", "Checkpoints"}
    for line in bundle.entries():
        target = bundle.component_of(line)
        if target is None or line.key not in needed or not line.value or target.value.split(".")[-1] in optional:
            continue
        if _is_required(target.value, line.key):
            yield bundle.delete(line, frozenset({(target.file, target.number)}))


def _is_required(target: str, argument: str) -> bool:
    """As the installed packages say, imported: the check reads them as text."""
    import inspect
    from pydoc import locate

    module = _locator().get_component_module_name(target)
    module = module[0] if isinstance(module, list) else module
    found = locate(f"{module}.{target}" if module else target)
    parameter = inspect.signature(found).parameters.get(argument) if callable(found) else None
    return parameter is not None and parameter.default is inspect.Parameter.empty


@cache
def _locator() -> Any:
    from monai.bundle import ComponentLocator

    return ComponentLocator()


def lost_ids(bundle: _Bundle, draw: random.Random) -> Iterator[Mistake]:
    """A setting that others refer to is deleted: told where it is missed."""
    for line in bundle.entries():
        users = bundle.users(line.key) - {(line.file, line.number)}
        defined = sum(one.key == line.key and one.depth == 0 for one in bundle.entries())
        if line.depth == 0 and line.value and users and defined == 1:
            yield bundle.delete(line, users)


def lost_targets(bundle: _Bundle, draw: random.Random) -> Iterator[Mistake]:
    """The `_target_` of a whole network, inferer, loss: told there or at its keys."""
    for line in bundle.entries():
        if line.key == "_target_" and "- _target_" not in bundle.texts[line.file][line.number - 1]:
            around = {(line.file, line.number + i) for i in range(-1, 12)}
            yield bundle.delete(line, frozenset(around) | {(line.file, n) for n in (line.number - 1,)})


def case_keys(bundle: _Bundle, draw: random.Random) -> Iterator[Mistake]:
    """keys: [image, label] -> [image, lable]"""
    for line in bundle.entries():
        if line.key in ("keys", "label_key"):
            word = draw.choice(re.findall(r"[a-z]+", line.value))
            yield bundle.change(
                line, f"{line.key}: {line.value}", f"{line.key}: {line.value.replace(word, misspell(word, draw))}"
            )


def choices(bundle: _Bundle, draw: random.Random) -> Iterator[Mistake]:
    """bilinear -> bilinaer, INSTANCE -> INSTNACE, auto -> atuo"""
    for line in bundle.entries():
        words = re.findall(r"[A-Za-z]{4,}", line.value) if line.value[:1] not in ('"', "$", "@") else []
        if (
            line.key
            in ("mode", "padding_mode", "upsample_mode", "norm", "norm_name", "precision", "section", "backend")
            and words
        ):
            word = draw.choice([w for w in words if w not in ("true", "affine")])
            yield bundle.change(line, word, misspell(word, draw))


def windows(bundle: _Bundle, draw: random.Random) -> Iterator[Mistake]:
    """A window that the strides do not divide, or with an axis too few; strides and channels of different length."""
    for line in bundle.entries("common.yaml"):
        numbers = re.findall(r"\d+", line.value)
        if not line.value.startswith("[") and line.key != "spatial_dims":
            continue
        if line.key == "window":  # the 2-D network takes pictures of any size
            odd = line.value.replace(numbers[0], str(int(numbers[0]) + draw.choice([1, 2, 3, 5])), 1)
            yield bundle.change(line, line.value, odd)
        if line.key in ("window", "image_size"):
            yield bundle.change(line, line.value, line.value.replace(f", {numbers[-1]}]", "]"))
        if line.key in ("strides", "kernel_size", "channels", "upsample_kernel_size", "filters"):
            here = range(line.number - 9, line.number + 9)
            yield bundle.change(
                line,
                line.value,
                line.value.replace(f", {numbers[-1]}]", "]"),
                more=frozenset(("common.yaml", n) for n in here),
            )
        if line.key == "spatial_dims":
            yield bundle.change(line, f": {line.value}", f": {5 - int(line.value)}", more=bundle.users("window"))


def label_sets(bundle: _Bundle, draw: random.Random) -> Iterator[Mistake]:
    """Channels of the network and numbers of labels that are not those of the metadata."""
    for line in bundle.entries():
        if line.key == "out_channels":
            yield bundle.change(line, f": {line.value}", f": {draw.choice([5, 7])}")
        if line.key == "in_channels":
            yield bundle.change(line, f": {line.value}", ": 3")
        if line.key in ("labels", "heart", "lungs") and re.search(r"\d", line.value):
            digit = re.findall(r"\d", line.value)[-1]
            yield bundle.change(line, f": {line.value}", f": {line.value.replace(digit, '9')}")
        if line.key in ("to_onehot", "num_classes") and line.value.startswith("$"):
            yield bundle.change(line, f": {line.value}", ": 6")
        if line.key in ("to_onehot_y", "softmax"):
            target = bundle.component_of(line)
            if target is not None:
                yield bundle.delete(line, frozenset({(target.file, target.number)}))


def metadata(bundle: _Bundle, draw: random.Random) -> Iterator[Mistake]:
    """Keys, versions, labels and channels of metadata.json."""
    depth = 0
    for number, text in enumerate(bundle.texts["metadata.json"], 1):
        match = re.match(r'( *)"([\w-]+)": (.*?),?$', text)
        if match is None:
            continue
        depth, key, value = len(match.group(1)) // 4, match.group(2), match.group(3)
        line = Line("metadata.json", number, depth, key, value)
        if (depth in (1, 4) or key in ("inputs", "outputs", "pred", "image")) and not key.isdecimal():
            yield bundle.change(line, f'"{key}"', f'"{misspell(key, draw)}"')
        if key in ("monai_version", "pytorch_version", "numpy_version"):
            yield bundle.change(line, value, '"0.9.1"')
        if key == "num_channels":
            near = frozenset(
                ("common.yaml", n) for n, t in enumerate(bundle.texts["common.yaml"], 1) if "_channels:" in t
            )
            near |= {("metadata.json", n) for n in range(number, number + 22)}
            yield bundle.change(line, value, "6", more=near)
        if re.fullmatch(r"[1-3]", key) and depth == 5:
            yield bundle.change(
                line,
                f'"{key}"',
                f'"{int(key) + 4}"',
                more=frozenset({("metadata.json", n) for n in range(number - 4, number)}),
            )


def settings_of_one_command(bundle: _Bundle, draw: random.Random) -> Iterator[Mistake]:
    """Spacing, window or intensities set anew for the training alone."""
    for line in bundle.entries("common.yaml"):
        if line.key in ("spacing_mm", "window_hu", "window", "image_size") and line.depth == 0:
            first = next(bundle.entries("train.yaml"))
            numbers = re.findall(r"[\d.]+", line.value)
            value = line.value.replace(
                numbers[0], str(2 * float(numbers[0]) if "." in numbers[0] else 2 * int(numbers[0]))
            )
            yield bundle.change(
                first, f"{first.key}: {first.value}", f"{line.key}: {value}\n{first.key}: {first.value}"
            )


KINDS: dict[str, Callable[[_Bundle, random.Random], Iterator[Mistake]]] = {
    "misspelt argument": arguments,
    "misspelt _target_": target_keys,
    "misspelt id": ids,
    "misspelt class": targets,
    "broken reference": references,
    "misspelt name in an expression": expression_names,
    "broken expression": syntax,
    "number as text": text_for_number,
    "boolean as text": text_for_boolean,
    "wrong type": wrong_types,
    "lost argument": lost_arguments,
    "lost id": lost_ids,
    "lost _target_": lost_targets,
    "misspelt key of a case": case_keys,
    "misspelt choice": choices,
    "wrong window or strides": windows,
    "wrong labels or channels": label_sets,
    "metadata": metadata,
    "set for training alone": settings_of_one_command,
}


def missed(root: Path, planted: list[Mistake], check: Callable[[Path], list[tuple[str, int | None]]]) -> list[Mistake]:
    """Those that `check`, which gives file names and lines, does not find where they stand."""
    left = []
    with tempfile.TemporaryDirectory() as place:
        for bundle in BUNDLES:
            shutil.copytree(root / bundle / "configs", Path(place) / bundle / "configs")
        for one in planted:
            file = Path(place) / one.bundle / "configs" / one.file
            before = file.read_text(encoding="utf-8")
            file.write_text(one.text, encoding="utf-8")
            if not set(check(Path(place) / one.bundle)) & one.lines:
                left.append(one)
            file.write_text(before, encoding="utf-8")
    return left


def main() -> None:
    """Print what is found and what is not."""
    from medseg.bundle.check import check_static
    from medseg.bundle.check.index import Index

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--each", type=int, default=EACH, help="mistakes of each kind in each bundle")
    options = parser.parse_args()
    index = Index()
    root = Path(__file__).resolve().parents[2] / "bundles"
    planted = mistakes(root, seed=options.seed, each=options.each)

    def check(bundle: Path) -> list[tuple[str, int | None]]:
        return [(Path(one.file).name, one.line) for one in check_static(bundle, index=index)]

    left = missed(root, planted, check)
    every, lost = Counter(one.kind for one in planted), Counter(one.kind for one in left)
    for kind in KINDS:
        sys.stdout.write(f"{kind:<32} {every[kind] - lost[kind]:>3} of {every[kind]:>3}\n")
    sys.stdout.write(f"{'all':<32} {len(planted) - len(left):>3} of {len(planted):>3}\n")
    for one in left:
        sys.stdout.write(f"not found: {one}\n")


if __name__ == "__main__":
    main()
