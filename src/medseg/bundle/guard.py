"""MONAI's workflow and parser for bundles that nobody has trusted: what runs is looked at when it runs.

`wants.py` finds in the text what a bundle wants beyond the list; that is for telling all of it at once. What keeps a
bundle to the list is here: each target is compared as an object with the listed one, expressions are evaluated with
every attribute and call looked at, and the bundle's folder is not put on Python's search path.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import pydoc
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import BuiltinMethodType, MethodType, ModuleType
from typing import Any

from monai.bundle import ConfigComponent, ConfigExpression, ConfigItem, ConfigParser, ConfigWorkflow

from medseg.bundle.allowed import is_callable, permitted, plain_value, roots, table
from medseg.bundle.check.expressions import expression_tree
from medseg.bundle.forms import imported, is_importable, refused_forms
from medseg.bundle.wants import MODES, is_reader
from medseg.errors import BundleError

_BUILTINS = {name: getattr(builtins, name) for name in sorted(table("expressions")["builtins"])}
_MAKERS = frozenset({"builtins", "collections", *roots()} - {"os", "glob", "math"})
"""Top packages whose objects an expression may look into."""


class GuardedWorkflow(ConfigWorkflow):
    """A ConfigWorkflow whose parser keeps to the list, and that leaves `sys.path` as it is.

    Parameters
    ----------
    config_file, meta_file, run_id
        As of `ConfigWorkflow`.
    writable
        Folders that the bundle may write to.
    """

    def __init__(self, *, config_file: Sequence[str], meta_file: str, run_id: str, writable: Sequence[Path]) -> None:
        super().__init__(config_file=list(config_file), meta_file=meta_file, logging_file=False, run_id=run_id)
        merged: Any = self.parser.config
        self.parser: Any = GuardedParser(merged, writable=writable)

    def run(self) -> Any:
        """Run the id; MONAI would put the bundle's folder in front of the installed packages."""
        return self._run_expr(id=self.run_id)


class GuardedParser(ConfigParser):
    """A ConfigParser that makes and evaluates only what is on the list.

    Parameters
    ----------
    config
        As merged.
    writable
        Folders that components may write to.
    """

    def __init__(self, config: Any = None, *, writable: Sequence[Path] = ()) -> None:
        super().__init__(config)
        self.writable = tuple(folder.resolve() for folder in writable)

    def _do_parse(self, config: Any, id: str = "") -> None:  # noqa: A002 (MONAI's name)
        if isinstance(config, (dict, list)):
            for _, inner, value in self.ref_resolver.iter_subconfigs(id=id, config=config):
                self._do_parse(config=value, id=inner)
        if ConfigComponent.is_instantiable(config):
            self.ref_resolver.add_item(_Component(config, id, self.locator, self.writable))
        elif ConfigExpression.is_expression(config):
            self.ref_resolver.add_item(_Expression(config, id, self.globals, self.writable))
        else:
            self.ref_resolver.add_item(ConfigItem(config, id))

    def _do_resolve(self, config: Any, id: str = "") -> Any:  # noqa: A002 (MONAI's name)
        if isinstance(config, str) and config.startswith("%") and self.split_path_id(config[1:])[0]:
            raise refusal(id, "it takes in another file")
        return super()._do_resolve(config, id)


class _Component(ConfigComponent):
    def __init__(self, config: Any, name: str, locator: Any, writable: tuple[Path, ...]) -> None:
        super().__init__(config=config, id=name, locator=locator)
        self.writable = writable

    def resolve_module_name(self) -> Any:
        name = super().resolve_module_name()
        if not isinstance(name, str) or not is_callable(name):
            raise refusal(self.id, f"it calls {name!a}")
        if not permitted(pydoc.locate(name)):
            raise refusal(self.id, f"{name!a} is not what the list has under that name")
        return name

    def instantiate(self, **kwargs: Any) -> Any:
        config = self.get_config()
        if config.get("_mode_", MODES[0]) not in MODES or "_debug_" in config:
            raise refusal(self.id, "it stops in a debugger")
        check_arguments(self.id, self.resolve_args(), self.writable)
        return super().instantiate(**kwargs)


class _Expression(ConfigExpression):
    def __init__(self, config: Any, name: str, names: dict[str, Any], writable: tuple[Path, ...]) -> None:
        super().__init__(config=config, id=name, globals=names)
        self.writable = writable

    def evaluate(self, globals: Any = None, locals: Any = None) -> Any:  # noqa: A002 (MONAI's names)
        text = self.get_config()[len(self.prefix) :]
        bound = imported(text)
        if bound is not None:
            if not is_importable(bound[1]) or bound[0] in _BUILTINS:
                raise refusal(self.id, f"it imports {bound[1]!a}")
            return self._parse_import_string(text)
        try:
            return _evaluated(text, {**self.globals, **(globals or {})}, self.writable)
        except _RefusedError as error:
            raise refusal(self.id, str(error)) from error
        except Exception as error:
            raise RuntimeError(f"Failed to evaluate {self}") from error


class _RefusedError(Exception):
    pass


class _Looked(ast.NodeTransformer):
    """Each attribute and each call of an expression goes through a function that looks at it."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        return _call("__attribute", [node.value, ast.Constant(node.attr)], [])

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        return _call("__called", [node.func, *node.args], node.keywords)


def _call(name: str, arguments: list[ast.expr], keywords: list[ast.keyword]) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), arguments, keywords)


def _evaluated(text: str, names: Mapping[str, Any], writable: tuple[Path, ...]) -> Any:
    tree = expression_tree(text)
    refused = next(refused_forms(tree), None)
    if refused is not None:
        raise _RefusedError(f"it {refused}")
    code = compile(ast.fix_missing_locations(_Looked().visit(tree)), "<configuration>", "eval")
    looked = {"__builtins__": {}, "__attribute": _attribute, "__called": partial(_called, writable)}
    return eval(code, {**_BUILTINS, **names, **looked})


def _attribute(thing: Any, name: str) -> Any:
    if isinstance(thing, ModuleType):
        return _of_module(thing, name)
    if isinstance(thing, type):
        value = getattr(thing, name)
        if plain_value(thing) and isinstance(value, thing):  # a member of an enumeration
            return value
        raise _RefusedError(f"it reads {thing.__name__}.{name}")
    listed = table("expressions")["attributes"] | table("expressions")["methods"]
    if name not in listed or type(thing).__module__.split(".")[0] not in _MAKERS:
        raise _RefusedError(f"it reads the attribute {name} of a {type(thing).__name__}")
    value = getattr(thing, name)
    if isinstance(value, ModuleType):
        raise _RefusedError(f"it reads the module {name}")
    return value


def _of_module(module: ModuleType, name: str) -> Any:
    value = getattr(module, name)
    if isinstance(value, ModuleType):
        beside = module.__name__ == "os" and name == "path"  # posixpath by its own name
        if beside or (module.__name__.split(".")[0] in roots() and value.__name__ == f"{module.__name__}.{name}"):
            return value
    elif plain_value(value) or permitted(value):
        return value
    raise _RefusedError(f"it reads {module.__name__}.{name}")


def _called(writable: tuple[Path, ...], function: Any, /, *arguments: Any, **named: Any) -> Any:
    inner = function.func if isinstance(function, partial) else function
    if any(inner is builtin for builtin in _BUILTINS.values()):
        if "key" in named or any(callable(one) for one in named.values()):
            raise _RefusedError("it hands a function to a function")
    elif permitted(inner):
        check_arguments(getattr(inner, "__name__", ""), {**_by_name(inner, arguments), **named}, writable)
    elif not _is_listed_method(inner):
        raise _RefusedError(f"it calls {type(inner).__name__} {getattr(inner, '__name__', '')}")
    return function(*arguments, **named)


def _by_name(function: Any, arguments: tuple[Any, ...]) -> dict[str, Any]:
    """Positional arguments by their names, where the function tells them."""
    try:
        return dict(inspect.signature(function).bind_partial(*arguments).arguments)
    except (TypeError, ValueError):  # built-in functions of torch have no signature, and none of the names we refuse
        return {}


def _is_listed_method(function: Any) -> bool:
    if not isinstance(function, (MethodType, BuiltinMethodType)) or isinstance(function.__self__, (ModuleType, type)):
        return False
    return function.__name__ in table("expressions")["methods"]


def check_arguments(name: str, arguments: Mapping[str, Any], writable: Sequence[Path]) -> None:
    """Refuse arguments that make a listed callable do what is not listed.

    Raises
    ------
    BundleError
        A download or a compiler is asked for, an unknown reader, or a folder outside `writable` is written to.
    """
    for key, value in arguments.items():
        if key in table("arguments")["refused"] and value is not None and value is not False:
            raise refusal(name, f"it gives the argument {key}")
        if key in table("arguments")["written"] and not _is_writable(value, writable):
            raise refusal(name, f"it writes to {str(value)!a}, which is not the folder that was named")
        if key == "reader":
            for one in value if isinstance(value, (list, tuple)) else [value]:
                if not is_reader(one) and not permitted(one if isinstance(one, type) else type(one)):
                    raise refusal(name, f"it reads with {str(one)!a}")


def _is_writable(value: Any, writable: Sequence[Path]) -> bool:
    folders = [*writable, Path.cwd()]
    return value is None or any(Path(str(value)).resolve().is_relative_to(folder) for folder in folders)


def refusal(name: str, what: str) -> BundleError:
    """The error for what only a trusted bundle may do, told when it was about to happen."""
    return BundleError(
        f"{name}: refused, as the bundle is not trusted: {what}",
        next_step="medseg bundle trust BUNDLE shows all that it wants and trusts it; docs/concepts/trust.md",
    )
