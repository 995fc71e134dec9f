"""What a configuration wants beyond what every bundle may do, found in its text before anything of it runs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from medseg.bundle.allowed import is_callable, table
from medseg.bundle.check.expressions import expression_tree
from medseg.bundle.check.lines import Node
from medseg.bundle.check.merged import absolute
from medseg.bundle.forms import REFS, bad_name, imported, is_importable, refused_forms, refused_names

MODES = ("default", "callable")

_REFERENCE = re.compile(r"@\w*(?:::\w*)*")
_FILE = re.compile(r".*\.(json|yaml|yml)(?=::|$)", re.IGNORECASE | re.DOTALL)
_LONGEST = 100


@dataclass(frozen=True, order=True)
class Want:
    """One thing that only a trusted bundle may do: where it stands, under which id, and what it is."""

    file: str
    line: int
    name: str
    what: str

    def text(self, folder: Path | None = None) -> str:
        """The want in one line; paths are told from `folder` on where they lie in it."""
        file = self.file if folder is None else self.file.removeprefix(f"{folder}/")
        return f"{file}{f':{self.line}' if self.line else ''}: {_shown(self.name)}: {self.what}"


_NAMED_FOLDERS = (None, "@output_dir", "@run_dir", "@cache_dir")
"""What whoever runs a bundle names."""


def wants_of(ids: Mapping[str, Node]) -> list[Want]:
    """What the merged configuration wants.

    Parameters
    ----------
    ids
        Every id of it ("train::trainer::max_epochs") with its node: `medseg.bundle.check.merged.Merged.ids`.
    """
    names, modules, found = _imports(ids)
    for name, node in ids.items():
        found += [_want(name, node, what) for what in _of_node(name, node, names, modules)]
    return sorted(set(found))


def _want(name: str, node: Node, what: str) -> Want:
    return Want(node.file, node.line or 0, name, what)


def _imports(ids: Mapping[str, Node]) -> tuple[dict[str, str], set[str], list[Want]]:
    """What each imported name stands for, the ids of import statements, and the imports that are not allowed."""
    names: dict[str, str] = {}
    modules: set[str] = set()
    found: list[Want] = []
    for name, node in ids.items():
        try:
            bound = imported(node.content[1:]) if _is_expression(node) and "import" in node.content else None
        except (SyntaxError, ValueError) as error:
            bound = None
            if "import" in str(error):
                found.append(_want(name, node, f"{_shown(node.content)}: {error}"))
        if bound is None:
            continue
        modules.add(name)
        if not is_importable(bound[1]):
            found.append(_want(name, node, f"imports {_shown(bound[1])}"))
        elif bad_name(*bound, names):
            found.append(_want(name, node, f"gives the name {_shown(bound[0])} another meaning"))
        else:
            names[bound[0]] = bound[1]
    return names, modules, found


def _is_expression(node: Node) -> bool:
    return isinstance(node.content, str) and node.content.startswith("$")


def _of_node(name: str, node: Node, names: Mapping[str, str], modules: set[str]) -> Iterator[str]:
    if isinstance(node.content, dict) and "_target_" in node.content:
        yield from _of_component(node.content)
    elif isinstance(node.content, str) and node.content.startswith("%") and _FILE.match(node.content):
        yield f"takes in another file, {_shown(node.content[1:])}"
    elif isinstance(node.content, str):
        text = absolute(node.content, name)
        for reference in references(text):
            yield from _of_reference(reference, modules)
        if _is_expression(node) and name not in modules:
            yield from _of_expression(text, names)


def _of_reference(name: str, modules: set[str]) -> Iterator[str]:
    if any(module == name or module.startswith(f"{name}::") for module in modules):
        yield f"hands on the modules of @{_shown(name)}"


def _of_expression(text: str, names: Mapping[str, str]) -> Iterator[str]:
    code = substituted(text)
    try:
        if imported(code) is not None:
            return
        tree = expression_tree(code)
    except (SyntaxError, ValueError):
        yield f"an expression that is no Python: {_shown(text)}"
        return
    found = dict.fromkeys([*refused_names(tree, names), *refused_forms(tree)])
    for what in found:
        if not what.startswith("uses the name") or what.replace("uses the name", "calls") not in found:
            yield f"{what} in {_shown(text)}"
    for call in ast.walk(tree):
        for keyword in call.keywords if isinstance(call, ast.Call) else ():
            if keyword.arg is not None:
                yield from _of_argument(keyword.arg, _literal(keyword.value))


def references(text: str) -> list[str]:
    """The ids that a text refers to: all of an expression, one of a text that is nothing but a reference."""
    whole = _REFERENCE.fullmatch(text.replace("#", "::"))
    found = _REFERENCE.findall(text.replace("#", "::")) if whole or text.startswith("$") else []
    return [reference[1:] for reference in found]


def substituted(text: str) -> str:
    """The code of an expression as MONAI evaluates it: without `$`, each `@id` in place (`update_refs_pattern`)."""
    text = text.replace("#", "::")
    for reference in sorted(_REFERENCE.findall(text), key=len, reverse=True):
        text = text.replace(reference, f"{REFS}['{reference[1:]}']")
    return text[1:]


def _literal(value: ast.expr) -> object:
    try:
        return ast.literal_eval(value)
    except ValueError:
        return f"${ast.unparse(value)}"


def _of_component(content: Mapping[str, Node]) -> Iterator[str]:
    target = content["_target_"].content
    if not isinstance(target, str) or target.startswith(("$", "@", "%")):
        yield f"makes what an expression names, _target_: {_shown(target)}"
    elif not is_callable(target):
        yield f"calls {_shown(target)}"
    mode = content["_mode_"].content if "_mode_" in content else MODES[0]
    if mode not in MODES:
        yield f"_mode_: {_shown(mode)}"
    if "_debug_" in content:
        yield "_debug_ stops in a debugger"
    for name, node in content.items():
        if not name.startswith("_"):
            yield from _of_argument(name, node.value())


def _of_argument(name: str, value: object) -> Iterator[str]:
    if name in table("arguments")["refused"] and value is not None and value is not False:
        yield f"gives the argument {name}"
    elif name in table("arguments")["written"] and value not in _NAMED_FOLDERS:
        yield f"writes to a folder of its own choice, {name}: {_shown(value)}"
    elif name == "reader":
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, dict) and not is_reader(one):
                yield f"reads with {_shown(one)}"


def is_reader(value: object) -> bool:
    """Whether `reader` names a reader that is on the list, in any case of letters as MONAI takes them."""
    return value is None or (
        isinstance(value, str) and value.lower() in {n.lower() for n in table("arguments")["readers"]}
    )


def _shown(value: object) -> str:
    """A stranger's text: escaped, in one line, not too long."""
    text = ascii(value)[1:-1] if isinstance(value, str) else ascii(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
