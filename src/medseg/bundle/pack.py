"""A bundle as one zip file that runs elsewhere: its own files, no data, no run's left-overs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from medseg.bundle.archive import pack_files
from medseg.bundle.metadata import METADATA_FILE, check_metadata
from medseg.errors import BundleError, writing
from medseg.files import atomic_write, sha256_of

SCHEMA_FILE = "docs/metadata.schema.json"
"""Goes along so that `monai.bundle verify_metadata` has a schema without a download."""
OWN_PLACES = {"run_dir": "$os.path.join('runs', @_meta_::name)", "datalist": "datalist.json"}
"""What a run's configuration says of itself, and what a bundle says."""

_KEPT = (
    *("LICENSE", "LICENSE.*", "configs/*.yaml", "configs/*.yml", "configs/*.json", "configs/*.conf"),
    *("docs/*.md", "docs/*.txt", "docs/*.png", "docs/*.svg", "docs/*.jpg"),
    *("models/[!.]*.pt", "models/[!.]*.safetensors", "models/*.json", "*.py", "scripts/**/*.py"),
)
_WEIGHTS = (".pt", ".safetensors")
_CHECKPOINTS = frozenset({"last.pt", "before_last.pt"})
"""Of a run: they hold the state of its optimiser, too."""
_OF_A_RUN = re.compile(r"^(run_dir|datalist): .*$", re.MULTILINE)


@dataclass(frozen=True)
class Packed:
    """The archive, its SHA-256, its size and how many files it has."""

    path: Path
    sha256: str
    bytes: int
    files: int


def pack(bundle: Path, archive: Path) -> Packed:
    """Write a bundle as a zip file with one top folder of the bundle's name.

    Configurations, documents, weights, records of the weights (precision, scores, flags) and Python files go in;
    data lists, checkpoints, curves and results of a run do not. The same bundle gives the same bytes.

    Raises
    ------
    BundleError
        The metadata break the specification, there are no weights, a file is a link, or `archive` is no .zip.
    OutputError
        It cannot be written.
    """
    if archive.suffix != ".zip":
        raise BundleError("the archive's name", got=archive.name, expected="NAME.zip")
    name = json.loads(json.dumps(check_metadata(bundle / METADATA_FILE))).get("name", bundle.name)
    kept = own_files(bundle)
    if not any(is_weights(path) for path in kept):
        raise BundleError(
            f"bundle {bundle.name}: no weights to pack", expected="models/model.pt, or those of an ensemble"
        )
    link = next((path for path in kept if path.is_symlink()), None)
    if link is not None:
        raise BundleError(f"{link}: a link cannot be packed", expected="a file of the bundle's own")
    files = [(f"{name}/{path.relative_to(bundle).as_posix()}", _content(path)) for path in kept]
    files.append((f"{name}/{SCHEMA_FILE}", _schema()))
    with writing(archive):
        archive.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(archive) as temporary:
            pack_files(files, temporary)
    return Packed(archive, sha256_of(archive), archive.stat().st_size, len(files))


def own_files(bundle: Path) -> list[Path]:
    """What makes up a bundle, without what a run leaves beside it: configurations, documents, weights, scripts."""
    found = {path for pattern in _KEPT for path in bundle.glob(pattern) if path.is_file() or path.is_symlink()}
    return sorted(path for path in found if path.name not in {Path(SCHEMA_FILE).name, *_CHECKPOINTS})


def is_weights(path: Path) -> bool:
    """Whether a file of `own_files` holds weights: model.pt, or one member of an ensemble."""
    return path.suffix in _WEIGHTS


def without_run(text: str) -> str:
    """A common.yaml whose run_dir and datalist are those of a bundle: a run's point at its own folder."""
    return _OF_A_RUN.sub(_own_place, text) if "run_dir: '@bundle_root'" in text else text


def _own_place(found: re.Match[str]) -> str:
    return f"{found[1]}: {OWN_PLACES[found[1]]}"


def _content(path: Path) -> bytes | Path:
    if path.name != "common.yaml":
        return path
    return without_run(path.read_text(encoding="utf-8")).encode()


def _schema() -> bytes:
    return resources.files("medseg.bundle").joinpath("metadata.schema.json").read_bytes()
