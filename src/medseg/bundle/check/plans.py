"""Which files of a bundle are merged for which command, in medseg's layout and in that of MONAI's model zoo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.bundle.check.findings import Finding, did_you_mean
from medseg.bundle.check.lines import Document, Unreadable, read
from medseg.errors import BundleError

PURPOSES = ("train", "evaluate", "inference")
RUN_IDS = {"train": "training", "evaluate": "evaluating", "inference": "inference"}
ENTRIES = ("initialize", "run", "finalize", "training", "evaluating", "inference", "testing", "validating")
"""Ids that a command asks for by name: nothing refers to them."""

_COMMON = "common.yaml"
_SUFFIXES = (".json", ".yaml", ".yml")


@dataclass(frozen=True)
class Plan:
    """Files that are merged, in this order, and then run.

    Attributes
    ----------
    name
        "train", "evaluate", "inference"; in the model zoo the name of the last file.
    files
        First to last.
    own
        In medseg's layout, where medseg itself runs the files.
    overlays
        Those at the end of `files` that were asked for.
    """

    name: str
    files: tuple[Path, ...]
    own: bool
    overlays: tuple[Path, ...] = ()

    @property
    def kind(self) -> str | None:
        """Whose properties MONAI asks of it: "train", "infer", or None where that is not plain."""
        first = self.files[0].stem if not self.own else self.name
        if len(self.files) > 1 and not self.own:
            return None
        return "train" if "train" in first else "infer" if first.startswith(("infer", "evaluate")) else None


class Reader:
    """The files of one bundle, each read once; what cannot be read becomes a finding once."""

    def __init__(self) -> None:
        self._documents: dict[Path, Document | None] = {}
        self.findings: list[Finding] = []

    def document(self, path: Path) -> Document | None:
        """The content of a file; None where it is not readable, which is then among the findings."""
        if path not in self._documents:
            self._documents[path] = self._read(path)
        return self._documents[path]

    def _read(self, path: Path) -> Document | None:
        try:
            document = read(path)
        except Unreadable as error:
            self.findings.append(Finding("unreadable", "error", str(path), error.line, error.what))
            return None
        for key, line in document.twice:
            self.findings.append(
                Finding("key-twice", "error", str(path), line, f"{key} stands twice in one mapping", hint="remove one")
            )
        if not isinstance(document.root.content, dict):
            got = "a list" if isinstance(document.root.content, list) else repr(document.root.content)
            self.findings.append(
                Finding("no-mapping", "error", str(path), 1, "no configuration", got, "a mapping of ids to values")
            )
            return None
        return document


def plans(bundle: Path, overlays: Sequence[str], reader: Reader) -> list[Plan]:
    """The plans of a bundle, each with the overlays; a missing file or overlay becomes a finding."""
    configs = bundle / "configs"
    if (configs / _COMMON).is_file() or not _is_zoo(configs, reader):
        return _own_plans(configs, overlays, reader)
    found = _zoo_plans(configs, reader)
    if overlays:
        names = ", ".join(plan.name for plan in found)
        reader.findings.append(
            Finding(
                "unknown-overlay",
                "error",
                str(configs),
                None,
                "this bundle has no overlays: its files are checked as the model zoo merges them",
                ", ".join(overlays),
                names,
            )
        )
    return found


def overlay_names(configs: Path) -> list[str]:
    """What `--overlay` takes: further YAML files of the bundle."""
    return sorted({path.stem for path in configs.glob("*.yaml")} - {"common", *PURPOSES})


def _own_plans(configs: Path, overlays: Sequence[str], reader: Reader) -> list[Plan]:
    known = overlay_names(configs)
    for name in overlays:
        if name not in known:
            expected = (
                ", ".join(known) or "none: this bundle has no overlays, in a run's folder they are merged already"
            )
            finding = Finding(
                "unknown-overlay",
                "error",
                str(configs),
                None,
                "unknown overlay",
                name,
                expected,
                did_you_mean(name, known),
            )
            reader.findings.append(finding)
    extra = tuple(configs / f"{name}.yaml" for name in overlays if name in known)
    if not (configs / _COMMON).is_file():
        reader.findings.append(missing_file(configs / _COMMON))
        return []
    files = [(purpose, configs / f"{purpose}.yaml") for purpose in PURPOSES]
    found = [(purpose, (configs / _COMMON, file, *extra)) for purpose, file in files if file.is_file()]
    return [Plan(purpose, named, own=True, overlays=extra) for purpose, named in found]


def missing_file(path: Path) -> Finding:
    """That a file of the bundle is not there."""
    return Finding("missing-file", "error", str(path), None, f"{path.name} is missing", expected=f"a file {path}")


def refuse_zoo(bundle: Path) -> None:
    """Refuse to run, or to merge for a command, what has the layout of MONAI's model zoo.

    Raises
    ------
    BundleError
        It has no common.yaml, and files that are whole configurations.
    """
    configs = bundle / "configs"
    if (configs / _COMMON).is_file() or not _is_zoo(configs, Reader()):
        return
    names = ", ".join(path.name for path in _zoo_files(configs))
    raise BundleError(
        f"bundle {bundle.name} is laid out as in MONAI's model zoo: medseg checks and compares it, but does not run it",
        got=names,
        expected=f"configs/{_COMMON}, and train.yaml, evaluate.yaml, inference.yaml beside it",
        next_step="MONAI runs it, without medseg's guard: python -m monai.bundle run --config_file FILE",
    )


def _is_zoo(configs: Path, reader: Reader) -> bool:
    """Whether a bundle without common.yaml is one as in the model zoo, and not one that has lost the file."""
    files = _zoo_files(configs)
    documents = [reader.document(path) for path in files if path.suffix != ".json"]
    has_root = any(document is not None and "bundle_root" in document.root.content for document in documents)
    return has_root or any(path.suffix == ".json" for path in files)


def _zoo_files(configs: Path) -> list[Path]:
    """Configurations among the files of configs/; data lists and the metadata are none."""
    return [p for p in sorted(configs.glob("*")) if p.suffix.lower() in _SUFFIXES and p.stem != "metadata"]


def _zoo_plans(configs: Path, reader: Reader) -> list[Plan]:
    documents = {path: reader.document(path) for path in _zoo_files(configs)}
    keys = {path: set(doc.root.content) for path, doc in documents.items() if doc is not None}
    wholes = {path.stem: path for path in keys if "bundle_root" in keys[path]}
    parts = {path.stem: path for path in keys if path.stem not in wholes and _is_part(keys[path])}
    found = [Plan(name, (path,), own=False) for name, path in wholes.items()]
    for name, path in parts.items():
        base = _base(name, wholes, parts)
        found.append(Plan(name, (*base, path), own=False))
    return found


def _is_part(keys: set[str]) -> bool:
    """A file that is merged behind another, and no data list or table."""
    marks = {"imports", "network_def", "device", "run", "initialize", "training", "evaluating", "dataset", "trainer"}
    return bool(keys & marks) or any("#" in key or "::" in key or key.startswith("+") for key in keys)


def _base(name: str, wholes: dict[str, Path], parts: dict[str, Path]) -> tuple[Path, ...]:
    """The files before `name`: train before multi_gpu_train and evaluate, inference before inference_trt."""
    plain = name.replace("-", "_").removeprefix("multi_gpu_").removesuffix("_multigpu").removesuffix("_multi_gpu")
    if plain != name and plain in wholes:
        return (wholes[plain],)
    if plain != name and plain in parts:
        return (*_base(plain, wholes, parts), parts[plain])
    if plain.startswith(("evaluate", "test", "valid")):
        return tuple(wholes[one] for one in ("train", "training") if one in wholes)[:1]
    head = plain.split("_")[0]
    close = [path for stem, path in wholes.items() if stem.split("_")[0] == head]
    return tuple((close or list(wholes.values()))[:1])
