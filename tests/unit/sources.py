"""What the rules of the house read of a source tree: its files and their imports."""

from __future__ import annotations

import ast
import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path

from bundle import pack, pack_provisioner

ROOT = Path(__file__).resolve().parent.parent.parent
DRIVER_SIDE = pack.CONTENTS
PROVISIONER_SIDE = tuple(name for name in pack_provisioner.CONTENTS if name not in pack.CONTENTS)
# The names of our own packages and modules at the top of the tree.
OURS = {Path(name).stem for name in (*DRIVER_SIDE, *PROVISIONER_SIDE)}
OURS |= {"bundle", "examples", "tests"}


@dataclasses.dataclass(frozen=True)
class Import:
    """One module that one file imports.

    is_late: inside a function, so that only a call of the function imports it.
    is_for_types: only the type checker sees it."""

    file: str
    module: str
    is_late: bool
    is_for_types: bool

    @property
    def top(self) -> str:
        """The package at the top, such as `node` of node.host.log."""
        return self.module.split(".")[0]

    def is_of(self, package: str) -> bool:
        """Whether the module is `package`, or lies in it."""
        return (self.module + ".").startswith(package + ".")

    def __str__(self) -> str:
        return f"{self.file} imports {self.module}"


def files(root: Path, *names: str) -> list[Path]:
    """The Python files of that tree, in those of its files and folders."""
    found: list[Path] = []
    for name in names:
        path = root / name
        if path.is_dir():
            found += path.rglob("*.py")
        elif path.exists():
            found.append(path)
    return sorted(found)


@functools.cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file, which is not to be changed."""
    return ast.parse(path.read_text())


def imports(root: Path, *names: str) -> Iterator[Import]:
    """All imports in those files and folders of a tree."""
    for path in files(root, *names):
        file = path.relative_to(root).as_posix()
        yield from _imports(parsed(path), Import(file, "", False, False))


def _imports(node: ast.AST, where: Import) -> Iterator[Import]:
    """:param where: an import without a module, which says where `node` stands"""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield dataclasses.replace(where, module=alias.name)
        return
    if isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield dataclasses.replace(where, module=_module(node.module or "", alias.name))
        return
    if isinstance(node, ast.If) and _is_type_checking(node.test):
        where = dataclasses.replace(where, is_for_types=True)
        for statement in node.body:
            yield from _imports(statement, where)
        return
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        where = dataclasses.replace(where, is_late=True)
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, where)


def _module(package: str, name: str) -> str:
    """What `from package import name` imports: node.host.log of `from node.host import log`, but
    shared.protocol of `from shared.protocol import Reply`."""
    is_folder = (ROOT / package.replace(".", "/")).is_dir()
    if is_folder and package.split(".")[0] in OURS:
        return f"{package}.{name}"
    return package


def _is_type_checking(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"
