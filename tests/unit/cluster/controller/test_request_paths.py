"""No path of a request to the API server is put together in place.

A name that anyone may have written would lead to any other path. Only the makers of paths in
cluster/controller/cluster.py put paths together, because they check each name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.sources import PROVISIONER_SIDE, ROOT, files, parsed

API = "cluster/controller/cluster.py"
PATH_MAKERS = {"path_to", "in_namespace", "selected", "claim_path"}
COLLECTIONS = {"CLAIMS", "VOLUMES", "CLASSES", "NODES", "NAMESPACES", "PODS"}
REQUESTS = {"get", "items", "create", "patch", "delete"}


def paths_put_together(root: Path) -> list[str]:
    """The places, as FILE:LINE, where a path is put together."""
    places = []
    for path in files(root, *PROVISIONER_SIDE):
        name = path.relative_to(root).as_posix()
        tree = parsed(path)
        if name == API:
            body = [node for node in tree.body if not _is_path_maker(node)]
            tree = ast.Module(body, type_ignores=[])
        variables = _path_variables(tree)
        for node in _expressions(tree):
            is_spelled = name != API and _spells_a_path(node)
            if is_spelled or _joins_a_path(node, variables) or _asks_for_joined(node):
                places.append(f"{name}:{node.lineno}")
    return places


def _is_path_maker(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name in PATH_MAKERS


def _expressions(tree: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.expr):
            yield node


def _path_variables(tree: ast.AST) -> set[str]:
    """The variables and attributes that hold a path, by their last name."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and _is_path(node.value, found):
            found |= {_last_name(target) for target in node.targets} - {""}
    return found


def _is_path(value: ast.AST, variables: set[str]) -> bool:
    name = _last_name(value.func if isinstance(value, ast.Call) else value)
    return name in PATH_MAKERS | COLLECTIONS | variables


def _last_name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _spells_a_path(node: ast.expr) -> bool:
    text = node.value if isinstance(node, ast.Constant) else None
    return isinstance(text, str) and text.startswith(("/api/", "/apis/"))


def _joins_a_path(node: ast.expr, variables: set[str]) -> bool:
    """Whether a path is a part of a sum, is given to `format` or `join`, or stands in an f-string
    before more of a path."""
    if isinstance(node, ast.Call):
        if _last_name(node.func) not in ("format", "join"):
            return False
        return any(_is_path(given, variables) for given in _flat(node.args))
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Mod)):
        return _is_path(node.left, variables) or _is_path(node.right, variables)
    if isinstance(node, ast.JoinedStr):
        return _goes_on_after_a_path(node, variables)
    return False


def _flat(arguments: list[ast.expr]) -> Iterator[ast.expr]:
    """The arguments of a call, with the elements of those that are lists or tuples."""
    for argument in arguments:
        if isinstance(argument, (ast.List, ast.Tuple)):
            yield from argument.elts
        else:
            yield argument


def _goes_on_after_a_path(text: ast.JoinedStr, variables: set[str]) -> bool:
    for part, following in zip(text.values, text.values[1:], strict=False):
        if not isinstance(part, ast.FormattedValue) or not _is_path(part.value, variables):
            continue
        rest = following.value if isinstance(following, ast.Constant) else ""
        if str(rest).startswith(("/", "?")):
            return True
    return False


def _asks_for_joined(node: ast.expr) -> bool:
    """Whether a request's path is joined in its very argument."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
        return False
    is_request = node.func.attr in REQUESTS
    is_of_api = _last_name(node.func.value).strip("_") in ("api", "cluster")
    is_joined = isinstance(node.args[0], (ast.JoinedStr, ast.BinOp))
    return is_request and is_of_api and is_joined


def test_no_path_is_put_together_in_place() -> None:
    places = paths_put_together(ROOT)

    assert not places, f"make the path by one of {sorted(PATH_MAKERS)} of {API}: {places}"


@pytest.mark.parametrize(
    ("file", "source"),
    [
        pytest.param("controller/orphans.py", "x = '/api/v1/nodes'", id="a path is spelled out"),
        pytest.param(
            "controller/orphans.py",
            "def f(node):\n    return f'/api/v1/nodes/{node}'",
            id="a path is spelled out with a name in it",
        ),
        pytest.param(
            "controller/orphans.py",
            "def f(name):\n    return f'{cluster.VOLUMES}/{name}'",
            id="a name follows a collection in an f-string",
        ),
        pytest.param(
            "kubectl/static.py",
            "def f(name):\n    return VOLUMES + '/' + name",
            id="a name is added to a collection",
        ),
        pytest.param(
            "kubectl/static.py",
            "def f(name):\n    return '%s/x' % (name,) + NODES",
            id="a collection is added",
        ),
        pytest.param(
            "kubectl/static.py",
            "def f(name):\n    return '{}/x'.format(VOLUMES)",
            id="a collection is formatted",
        ),
        pytest.param(
            "kubectl/static.py",
            "def f(name):\n    return '/'.join((VOLUMES, name))",
            id="a name is joined to a collection",
        ),
        pytest.param(
            "kubectl/move.py",
            "def f(api, a):\n    api.get(a + '/status')",
            id="a request's path is a sum",
        ),
        pytest.param(
            "kubectl/move.py",
            "def f(self, a):\n    self._api.delete(f'{a}/x', 'u')",
            id="a request's path is an f-string",
        ),
        pytest.param(
            "controller/capacity.py",
            "def f(self, n, name):\n"
            "    self._mine = cluster.in_namespace(n, 'pods')\n"
            "    return f'{self._mine}/{name}'",
            id="a name follows an attribute that holds a path",
        ),
        pytest.param(
            "controller/events.py",
            "def f(n):\n    path = in_namespace(n, 'events')\n    return f'{path}?watch=true'",
            id="a query follows a variable that holds a path",
        ),
        pytest.param(
            "controller/cluster.py",
            "def f(name):\n    return f'{VOLUMES}/{name}'",
            id="the door itself, outside the makers of paths",
        ),
    ],
)
def test_a_path_that_is_put_together_is_found(file: str, source: str, tmp_path: Path) -> None:
    path = tmp_path / "cluster" / file
    path.parent.mkdir(parents=True)
    path.write_text(source + "\n")

    assert len(paths_put_together(tmp_path)) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        pytest.param(
            "controller/cluster.py",
            "def path_to(collection, name):\n    return f'{collection}/{name}'",
            id="a maker of paths",
        ),
        pytest.param(
            "controller/delete.py",
            "def f(api, name):\n"
            "    path = cluster.path_to(cluster.VOLUMES, name)\n"
            "    api.get(cluster.path_to(path, 'status'))\n"
            "    return f'{path}: it is changed all the time'",
            id="paths by the maker, and a message that names one",
        ),
    ],
)
def test_paths_by_their_makers_are_allowed(file: str, source: str, tmp_path: Path) -> None:
    path = tmp_path / "cluster" / file
    path.parent.mkdir(parents=True)
    path.write_text(source + "\n")

    assert paths_put_together(tmp_path) == []
