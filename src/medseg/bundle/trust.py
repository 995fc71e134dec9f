"""Which bundles may do more than the list allows: those whose files, by their hash, the user has said to trust."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medseg.bundle.check.findings import COMMAND_LINE, Finding, did_you_mean, errors
from medseg.bundle.check.merged import Merged
from medseg.bundle.check.plans import Plan, Reader, overlay_names, plans, refuse_zoo
from medseg.bundle.wants import Want, wants_of
from medseg.errors import BundleError, writing
from medseg.files import sha256_of

STORE = "trusted.json"
_NO_CODE = frozenset({".csv", ".gz", ".html", ".jpg", ".log", ".md", ".nii", ".pdf", ".png", ".svg"})
"""Suffixes of files that neither Python nor MONAI runs or reads as configuration: results, pictures, texts."""
_SHORTEST_HASH = 8
_let_in: set[str] = set()


@dataclass(frozen=True)
class Trusted:
    """A record of trust: the hash of the bundle's files, how the bundle was called, where it lay, when it was given."""

    sha256: str
    name: str
    folder: str
    given: str


def require_trust(bundle: Path, merged: Merged, *, trust: bool = False) -> bool:
    """Whether the bundle runs as a trusted one; False where it keeps to the list and is held to it.

    Parameters
    ----------
    bundle
        Its folder.
    merged
        The configuration with overlays and overrides.
    trust
        The user says so now: the bundle is recorded as trusted, and so is this once what the overrides want.

    Raises
    ------
    BundleError
        It wants more than the list allows, and nobody has said to trust it; all that it wants is named.
    """
    wants = wants_of(merged.ids)
    digest = bundle_sha256(bundle) if wants or trust else ""
    if trust:
        if any(want.file != COMMAND_LINE for want in wants):
            add_trust(bundle)
        return bool(wants)
    known = bool(wants) and any(record.sha256 == digest for record in read_trusted())
    left = [want for want in wants if want.file == COMMAND_LINE] if known else wants
    if left:
        raise _refusal(bundle, left, digest, known=known)
    return known


def let_in(bundle: Path) -> None:
    """Make the scripts of a trusted bundle importable: MONAI does so when it runs, stage two of the check comes before.

    Modules of another bundle that was let in before are forgotten: both may call theirs `scripts`. Python leaves no
    bytecode in the folder, as that would be a change of its files.
    """
    folder = str(bundle.resolve())
    for other in [path for path in _let_in if path != folder]:
        sys.path[:] = [path for path in sys.path if path != other]
        inside = Path(other)
        for name in [name for name, module in sys.modules.items() if _lies_in(inside, module)]:
            del sys.modules[name]
        _let_in.discard(other)
    if folder not in sys.path:
        sys.path.insert(1, folder)
    _let_in.add(folder)
    importlib.invalidate_caches()
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # of processes that load data


def _lies_in(folder: Path, module: object) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and Path(file).is_relative_to(folder)


def bundle_wants(bundle: Path) -> list[Want]:
    """What the bundle wants beyond the list, over all its commands and overlays.

    Raises
    ------
    BundleError
        A file of its configuration cannot be read.
    """
    reader, found = Reader(), set[Want]()
    sets: list[list[str]] = [[], *([name] for name in overlay_names(bundle / "configs"))]
    every = {plan.files: plan for overlays in sets for plan in plans(bundle, overlays, reader)}
    for plan in every.values():
        merged = Merged(bundle, plan, reader).finish()
        found.update(wants_of(merged.ids))
    unreadable = [one for one in reader.findings if one.code == "unreadable"]
    if unreadable:
        raise _unmergeable(bundle, unreadable)
    return sorted(found)


def merged_for(
    bundle: Path, purpose: str, *, overlays: Sequence[str] = (), overrides: Mapping[str, Any] | None = None
) -> Merged:
    """The configuration of one purpose, merged with lines; MONAI is not asked.

    Raises
    ------
    BundleError
        A file is missing or not readable, or an overlay or override does not fit.
    """
    refuse_zoo(bundle)
    configs = bundle / "configs"
    extra = tuple(configs / f"{name}.yaml" for name in overlays)
    known = overlay_names(configs)
    for name in overlays:
        if name not in known:
            hint = did_you_mean(name, known)
            raise BundleError(
                f"bundle {bundle.name}: unknown overlay", got=name, expected=", ".join(known), next_step=hint
            )
    files = (configs / "common.yaml", configs / f"{purpose}.yaml", *extra)
    for file in files:
        if not file.is_file():
            raise BundleError(f"bundle {bundle}: {file.name} is missing", expected=f"a file {file}")
    plan, reader = Plan(purpose, files, own=True, overlays=extra), Reader()
    return merge(bundle, plan, reader, overrides=overrides)


def merge(bundle: Path, plan: Plan, reader: Reader, *, overrides: Mapping[str, Any] | None = None) -> Merged:
    """The files of one plan merged.

    Raises
    ------
    BundleError
        As of `merged_for`.
    """
    merged = Merged(bundle, plan, reader)
    unknown = merged.override(overrides or {})
    merged.finish()
    if unknown:
        hints = [f"the configuration has no {name}" for name in unknown]
        raise BundleError("; ".join(hints), next_step=merged.nearest(unknown[0]))
    wrong = errors([*reader.findings, *merged.findings])
    if wrong:
        raise _unmergeable(bundle, wrong)
    return merged


def _unmergeable(bundle: Path, wrong: Sequence[Finding]) -> BundleError:
    unreadable = any(finding.code == "unreadable" for finding in wrong)
    what = "a file of configs/ is not readable" if unreadable else "its files cannot be merged"
    return BundleError("\n  ".join([f"bundle {bundle.name}: {what}:", *(one.text(bundle) for one in wrong)]))


def bundle_sha256(bundle: Path) -> str:
    """SHA-256 over the name and content of all files of the bundle that could be run or read as configuration.

    Python files and configurations are among them, and so are weights, as a trusted bundle may unpickle them; texts,
    pictures and results are not.

    Raises
    ------
    BundleError
        The bundle holds a link: what it leads to could change without a trace.
    """
    whole = hashlib.sha256()
    for path in sorted(bundle.rglob("*")):
        if path.is_symlink():
            raise BundleError(f"{path}: a link cannot be trusted", expected="files and folders of the bundle's own")
        if path.is_file() and path.suffix.lower() not in _NO_CODE:
            whole.update(f"{path.relative_to(bundle).as_posix()}\0{sha256_of(path)}\n".encode())
    return whole.hexdigest()


def add_trust(bundle: Path) -> Trusted:
    """Record that the bundle, as its files are now, may do what it wants."""
    given = datetime.now(UTC).isoformat(timespec="seconds")
    record = Trusted(bundle_sha256(bundle), bundle.name, str(bundle.resolve()), given)
    _write([one for one in read_trusted() if one.sha256 != record.sha256] + [record])
    return record


def remove_trust(which: str) -> list[Trusted]:
    """Forget the records of a hash (8 digits will do), a bundle's name or a folder; those that were there.

    Raises
    ------
    BundleError
        There is no such record.
    """
    folder = str(Path(which).resolve())
    records = read_trusted()
    gone = [one for one in records if which in (one.sha256, one.name, one.folder) or folder == one.folder]
    if len(which) >= _SHORTEST_HASH:
        gone += [one for one in records if one.sha256.startswith(which) and one not in gone]
    if not gone:
        raise BundleError(f"{which}: no such bundle is trusted", next_step="medseg bundle trust --list")
    _write([one for one in records if one not in gone])
    return gone


def read_trusted() -> list[Trusted]:
    """All records of this user.

    Raises
    ------
    BundleError
        The file is damaged; nothing is trusted then.
    """
    path = store_path()
    try:
        return [Trusted(**record) for record in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        raise BundleError(f"{path}: the records of trust are damaged", got=str(error), next_step="remove it") from error


def store_path() -> Path:
    """The user's file of records: in $MEDSEG_CONFIG, or where the system keeps a user's configuration."""
    if own := os.environ.get("MEDSEG_CONFIG"):
        return Path(own) / STORE
    if sys.platform == "win32":
        return Path(os.environ["APPDATA"]) / "medseg" / STORE
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "medseg" / STORE


def _write(records: Sequence[Trusted]) -> None:
    path = store_path()
    text = json.dumps([asdict(record) for record in records], indent=2) + "\n"
    trial = path.with_suffix(f".{os.getpid()}")
    with writing(path, next_step="name a folder of yours in the variable MEDSEG_CONFIG"):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        trial.write_text(text, encoding="utf-8")
        trial.replace(path)


def _refusal(bundle: Path, wants: Sequence[Want], digest: str, *, known: bool) -> BundleError:
    if known:
        what = f"bundle {bundle.name} is trusted, but the command line wants more than its files:"
        step = "leave that out, or say --trust if it is yours"
    else:
        what = f"bundle {bundle.name} wants what only a trusted bundle may do:"
        step = f"if you have read these lines and trust whoever wrote them: medseg bundle trust {bundle}, or --trust"
        step += f" (sha256 {digest})"
    return BundleError("\n  ".join([what, *(want.text(bundle) for want in wants), step]))
