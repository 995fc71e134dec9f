"""What mkdocs does beyond copying pages: pages made from the code, and a navigation that misses none."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))

from commands import commands_page

import medseg

ROOMS = {
    "errors": "what users meet when something is refused",
    "case": "images, cases, predictions and the names of their axes",
    "geometry": "affines, orientation, spacing, resampling",
    "intake": "files to images",
    "datasets": "layouts, splits, datalists, phantoms",
    "transforms": "what MONAI lacks",
    "networks": "the 2-D U-Net, ensembles, tables of layers",
    "training": "steps, losses, handlers, checkpoints",
    "inference": "windows, precision, the way back to the native grid",
    "postprocess": "components, holes, a class inside another",
    "outputs": "masks, DICOM objects, manifests, reports",
    "evaluation": "scores, intervals, comparison",
    "pictures": "overlays, contours, panels",
    "bundle": "find, check, load, describe bundles",
    "workflows": "train, evaluate, predict, score",
}
TUTORIALS = ("xray-lungs.md", "ct.md", "own-data.md")
CONCEPTS = ("unet.md", "coordinates.md", "scores.md", "many_cases.md", "inference.md", "precision.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the reference, and make the navigation from all pages there are."""
    files.append(File.generated(config, "reference/commands.md", content=commands_page()))
    for room, about in ROOMS.items():
        files.append(File.generated(config, f"reference/python/{room}.md", content=_room_page(room, about)))
    config.nav = _navigation([file.src_uri for file in files.documentation_pages()])
    return files


def _room_page(room: str, about: str) -> str:
    shadowed = "".join(
        f"\n::: medseg.{room}.{name}.{name}\n    options: {{heading_level: 3}}\n" for name in _shadowed(room)
    )
    return f"# medseg.{room}: {about}\n\n::: medseg.{room}\n{shadowed}"


def _shadowed(room: str) -> list[str]:
    """Public functions with the name of the file they are in: mkdocstrings takes that name for the file."""
    folder = Path(medseg.__file__).parent / room
    if not folder.is_dir():
        return []
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    public = next(
        node for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    return [name for name in ast.literal_eval(public.value) if (folder / f"{name}.py").is_file()]


def _navigation(pages: list[str]) -> list[Any]:
    rooms = [f"reference/python/{room}.md" for room in ROOMS]
    return [
        "index.md",
        {"Tutorials": _ordered(pages, "tutorials/", TUTORIALS)},
        {"How to": _ordered(pages, "how-to/", ())},
        {"Concepts": _ordered(pages, "concepts/", CONCEPTS)},
        {"Reference": ["reference/commands.md", "reference/json.md", {"Python": rooms}]},
    ]


def _ordered(pages: list[str], folder: str, first: tuple[str, ...]) -> list[str]:
    """The pages of a folder: those named first, then all others by name."""
    here = sorted(page for page in pages if page.startswith(folder))
    known = [folder + name for name in first if folder + name in here]
    return known + [page for page in here if page not in known]
