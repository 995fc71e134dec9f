"""YAML and JSON read as MONAI reads them, each value with the line it stands on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from json import decoder
from pathlib import Path
from typing import Any, TypeAlias

import yaml

Content: TypeAlias = "dict[str, Node] | list[Node] | str | int | float | bool | None"

MOST_VALUES = 100_000
"""Of one YAML file, a value behind an alias counted each time: nine lines of aliases can stand for a billion."""

MOST_NESTED = 100
"""Levels of one file: parsers go down with them, and libyaml's ends the process where its stack does."""

_SPACE = re.compile(r"[ \t\n\r]*")
_WORD = re.compile(r"[-+.\w]+")
_SCAN: Callable[[str, int, bool], tuple[str, int]] = getattr(decoder, "scanstring")  # noqa: B009 (not in its stub)


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class Node:
    """A value and where it stands.

    Attributes
    ----------
    content
        A scalar, or nodes in a dictionary or list.
    file, line
        Of the key in a dictionary, of the value in a list. No line for what the command line says.
    plain
        A text that stands in YAML without quotes.
    """

    content: Any
    file: str
    line: int | None
    plain: bool = False

    def children(self) -> Iterator[tuple[str, Node]]:
        """Key or index as text, and the node; nothing of a scalar."""
        if isinstance(self.content, dict):
            yield from self.content.items()
        elif isinstance(self.content, list):
            yield from ((str(index), node) for index, node in enumerate(self.content))

    def value(self) -> Any:
        """The plain Python value, as MONAI holds it."""
        if isinstance(self.content, dict):
            return {key: node.value() for key, node in self.content.items()}
        return [node.value() for node in self.content] if isinstance(self.content, list) else self.content

    def copy(self) -> Node:
        """Containers anew, so that merging into the copy leaves this one as it is."""
        if isinstance(self.content, dict):
            content: Any = {key: node.copy() for key, node in self.content.items()}
        else:
            content = [node.copy() for node in self.content] if isinstance(self.content, list) else self.content
        return Node(content, self.file, self.line, self.plain)


class Unreadable(Exception):  # noqa: N818 (no error of the program: it becomes a finding)
    """A file that is no YAML or JSON, with the line that breaks it."""

    def __init__(self, what: str, line: int | None) -> None:
        super().__init__(what)
        self.what, self.line = what, line


@dataclass(frozen=True)
class Document:
    """A file's content, and the keys that stand twice in one of its mappings, with their lines."""

    root: Node
    twice: tuple[tuple[str, int], ...] = ()


def read(path: Path) -> Document:
    """The content of a YAML or JSON file.

    Raises
    ------
    Unreadable
        The file cannot be read, or is not what its suffix says.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise Unreadable(f"the file cannot be read: {error.strerror}", None) from error
    except UnicodeDecodeError as error:
        raise Unreadable(f"no text in UTF-8: byte {error.start}", None) from error
    return _Json(text, str(path)).document() if path.suffix.lower() == ".json" else _Yaml(str(path)).document(text)


def of_value(value: Any, *, file: str, line: int | None = None) -> Node:
    """Nodes of a Python value, all in one place: what an override says."""
    if isinstance(value, dict):
        content: Any = {str(key): of_value(one, file=file, line=line) for key, one in value.items()}
    elif isinstance(value, (list, tuple)):
        content = [of_value(one, file=file, line=line) for one in value]
    else:
        content = str(value) if isinstance(value, Path) else value
    return Node(content, file, line)


def _refuse_deep(text: str) -> None:
    """Raise ValueError where lists and mappings are nested deeper than any configuration; events need no stack."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_NESTED:
            raise ValueError(f"nested deeper than {MOST_NESTED} levels")


class _Yaml:
    def __init__(self, file: str) -> None:
        self.file = file
        self.twice: list[tuple[str, int]] = []
        self.maker = yaml.SafeLoader("")
        self.count = 0

    def document(self, text: str) -> Document:
        try:
            _refuse_deep(text)
            node = yaml.compose(text, Loader=_LOADER)
            root = Node({}, self.file, 1) if node is None else self._node(node, node.start_mark.line + 1)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise Unreadable(
                f"no YAML: {error.problem or error.context}", None if mark is None else mark.line + 1
            ) from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise Unreadable(f"no YAML: {error}", None) from error
        return Document(root, tuple(self.twice))

    def _node(self, node: yaml.Node, line: int) -> Node:
        self.count += 1
        if self.count > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES} values, anchors written out")
        if isinstance(node, yaml.MappingNode):
            return Node(self._mapping(node), self.file, line)
        if isinstance(node, yaml.SequenceNode):
            return Node([self._node(one, one.start_mark.line + 1) for one in node.value], self.file, line)
        value = self.maker.construct_object(node)
        plain = getattr(node, "style", None) is None
        return Node(value, self.file, line, plain=plain and isinstance(value, str))

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Node]:
        own = [self.maker.construct_object(key) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        lines = [key.start_mark.line + 1 for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        self.twice += [(str(key), line) for i, (key, line) in enumerate(zip(own, lines, strict=True)) if key in own[:i]]
        self.maker.flatten_mapping(node)
        return {
            str(self.maker.construct_object(key)): self._node(value, key.start_mark.line + 1)
            for key, value in node.value
        }


class _Json:
    """A parser of JSON that keeps lines: `json` has none of them, and YAML reads some numbers of JSON as text."""

    def __init__(self, text: str, file: str) -> None:
        self.text, self.file = text, file
        self.twice: list[tuple[str, int]] = []
        self.starts = [match.end() for match in re.finditer("\n", text)]

    def document(self) -> Document:
        import bisect

        self.line_of = lambda at: bisect.bisect_right(self.starts, at) + 1
        try:
            json.loads(self.text)
        except json.JSONDecodeError as error:
            raise Unreadable(f"no JSON: {error.msg}", error.lineno) from error
        except RecursionError as error:
            raise Unreadable("no JSON: nested too deeply", None) from error
        node, _ = self._value(self._skip(0))
        return Document(node, tuple(self.twice))

    def _skip(self, at: int) -> int:
        match = _SPACE.match(self.text, at)
        return at if match is None else match.end()

    def _value(self, at: int, line: int | None = None) -> tuple[Node, int]:
        line = self.line_of(at) if line is None else line
        sign = self.text[at]
        if sign == "{":
            content, at = self._object(self._skip(at + 1))
            return Node(content, self.file, line), at
        if sign == "[":
            items, at = self._array(self._skip(at + 1))
            return Node(items, self.file, line), at
        if sign == '"':
            text, at = _SCAN(self.text, at + 1, True)
            return Node(text, self.file, line), at
        match = _WORD.match(self.text, at)
        assert match is not None  # `json` has read it before
        return Node(json.loads(match.group()), self.file, line), match.end()

    def _object(self, at: int) -> tuple[dict[str, Node], int]:
        found: dict[str, Node] = {}
        while self.text[at] != "}":
            line = self.line_of(at)
            key, at = _SCAN(self.text, at + 1, True)
            if key in found:
                self.twice.append((key, line))
            found[key], at = self._value(self._skip(self._skip(at) + 1), line)
            at = self._comma(at)
        return found, at + 1

    def _array(self, at: int) -> tuple[list[Node], int]:
        found: list[Node] = []
        while self.text[at] != "]":
            node, at = self._value(at)
            found.append(node)
            at = self._comma(at)
        return found, at + 1

    def _comma(self, at: int) -> int:
        at = self._skip(at)
        return self._skip(at + 1) if self.text[at] == "," else at
