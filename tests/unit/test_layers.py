"""Who may import whom, and how much there may be: the rules that keep a reader's way short. Each is
a function from a source tree to the list of what breaks it, so that each is also shown to find
something in a bad tree."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bundle import pack, pack_provisioner

ROOT = Path(__file__).resolve().parent.parent.parent
DRIVER_SIDE = pack.CONTENTS
PROVISIONER_SIDE = tuple(n for n in pack_provisioner.CONTENTS if n not in pack.CONTENTS)
OURS = {Path(name).stem for name in (*DRIVER_SIDE, *pack_provisioner.CONTENTS)} | {
    "bundle",
    "tests",
}

# A file or directory -> what of ours it may import. A name stands for all that is below it.
MAY_IMPORT = {
    "shared/protocol.py": set[str](),
    "shared/options.py": {"shared.protocol"},
    "shared/process.py": {"shared.protocol"},
    "shared/caller.py": {"shared.options", "shared.protocol", "shared.process"},
    "shared/table.py": set(),
    "flexvol.py": {"shared", "node.callouts", "node.commands", "node.host.log"},
    "node/callouts.py": {"shared", "node.drivers", "node.host.log"},
    "node/zipapp.py": {"shared.protocol"},
    "node/operations.py": {"shared"},
    "node/drivers/__init__.py": {"shared", "node.host", "node.operations"},
    "node/drivers/loop": {
        "shared",
        "node.host",
        "node.drivers",
        "node.drivers.loop",
        "node.operations",
    },
    "node/host": {"shared", "node.host"},
    "node/commands": {"shared", "node"},
    "provisioner.py": {"shared.options", "shared.protocol", "cluster"},
    "cluster/kubectl": {"shared.options", "shared.protocol", "shared.table", "cluster"},
    "cluster/kubectl/nodes.py": {
        "shared.options",
        "shared.protocol",
        "shared.caller",
        "cluster.controller",
    },
    "cluster/controller": {"shared.options", "shared.protocol", "cluster.controller"},
    "cluster/controller/storage.py": {
        "shared.options",
        "shared.protocol",
        "shared.caller",
        "cluster.controller.metrics",
    },
    "cluster/controller/cluster.py": {
        "cluster.controller.api_errors",
        "cluster.controller.execute",
        "cluster.controller.kubeconfig",
    },
    "cluster/controller/metrics.py": set(),
}
# The doors: a package from outside -> the only files that may import it.
DOORS = {
    "kubernetes": {
        "cluster/controller/cluster.py",
        "cluster/controller/kubeconfig.py",
        "cluster/controller/quantities.py",
    },
    "urllib3": {"cluster/controller/cluster.py"},
    "websocket": {"cluster/controller/execute.py"},
    "prometheus_client": {"cluster/controller/metrics.py"},
}
# What a callout must not import before it knows that it needs it: each costs milliseconds.
SLOW = {
    "argparse",
    "dataclasses",
    "enum",
    "json",
    "logging",
    "re",
    "shutil",
    "socket",
    "subprocess",
    "tempfile",
    "typing",
}
CALLOUT_PATH = (
    "shared/protocol.py",
    "shared/options.py",
    "shared/process.py",
    "flexvol.py",
    "node/callouts.py",
    "node/drivers",
    "node/host",
)
# What cannot be folded to make it fit, unlike a number of lines of a file: a longer function does
# more than one thing.
FUNCTION_LIMIT_LINES = 50


class Import:
    """One module that one file imports. late: inside a function. checking: only for the type
    checker."""

    def __init__(self, file: str, module: str, late: bool, checking: bool) -> None:
        self.file = file
        self.module = module
        self.late = late
        self.checking = checking


def files(root: Path, *names: str) -> list[Path]:
    found = [root / name for name in names]
    return sorted(
        f for path in found for f in (path.rglob("*.py") if path.is_dir() else [path]) if f.exists()
    )


def imports(root: Path, *names: str) -> Iterator[Import]:
    for path in files(root, *names):
        yield from _imports(
            ast.parse(path.read_text()), path.relative_to(root).as_posix(), False, False
        )


def _imports(node: ast.AST, file: str, late: bool, checking: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(file, alias.name, late, checking)
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            # "from node.host import log" imports node.host.log; "from shared.protocol import
            # Reply" imports shared.protocol.
            module = node.module or ""
            if is_folder(module) and module.split(".")[0] in OURS:
                module = f"{module}.{alias.name}"
            yield Import(file, module, late, checking)
    elif (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    ):
        for statement in node.body:
            yield from _imports(statement, file, late, True)
    else:
        late = late or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            yield from _imports(child, file, late, checking)


def is_folder(module: str) -> bool:
    return (ROOT / module.replace(".", "/")).is_dir()


def forbidden_imports(root: Path) -> list[str]:
    """Imports of ours that MAY_IMPORT does not allow. The type checker's are free."""
    broken = []
    for found in imports(root, *DRIVER_SIDE, *PROVISIONER_SIDE):
        if found.checking or found.module.split(".")[0] not in OURS:
            continue
        row = max(
            (row for row in MAY_IMPORT if (found.file + "/").startswith(row + "/")),
            key=len,
            default="",
        )
        allowed = MAY_IMPORT.get(row, set())
        package = found.file.rpartition("/")[0].replace("/", ".")
        if found.module.startswith("node.drivers.loop"):
            fits = (package + ".").startswith("node.drivers.loop.")
        else:
            fits = any((found.module + ".").startswith(name + ".") for name in allowed)
        if not fits:
            broken.append(f"{found.file} imports {found.module}")
    return broken


def foreign_imports(root: Path) -> list[str]:
    """Anything but the standard library on the driver side, and outside packages that come in by
    another door."""
    broken = []
    for found in imports(root, *DRIVER_SIDE):
        top = found.module.split(".")[0]
        if top not in sys.stdlib_module_names and top not in OURS:
            broken.append(f"{found.file} imports {found.module}")
    for found in imports(root, *PROVISIONER_SIDE):
        top = found.module.split(".")[0]
        is_outside = top not in sys.stdlib_module_names and top not in OURS
        if is_outside and found.file not in DOORS.get(top, set()):
            broken.append(f"{found.file} imports {found.module}")
    return broken


def slow_imports(root: Path) -> list[str]:
    return [
        f"{found.file} imports {found.module} before it is needed"
        for found in imports(root, *CALLOUT_PATH)
        if found.module.split(".")[0] in SLOW and not found.late and not found.checking
    ]


def caller_in_callouts(root: Path) -> list[str]:
    """kubelet's side has no place in a callout."""
    return [
        f"{found.file} imports caller"
        for found in imports(root, *CALLOUT_PATH)
        if found.module == "shared.caller"
    ]


def names_of_drivers(root: Path) -> list[str]:
    """Files that know drivers/loop by name: deleting it must change nothing else, but the word for
    the default."""
    broken = []
    for path in files(root, *DRIVER_SIDE, *PROVISIONER_SIDE):
        name = path.relative_to(root).as_posix()
        if not name.startswith("node/drivers/loop/"):
            text = path.read_text()
            broken += [
                f"{name} names {word}"
                for word in ("drivers.loop", "drivers/loop", "LoopDriver")
                if word in text
            ]
    return broken


def newer_syntax(root: Path) -> list[str]:
    """Driver-side files that Python 3.6 cannot parse."""
    broken = []
    for path in files(root, *DRIVER_SIDE):
        try:
            ast.parse(path.read_text(), feature_version=(3, 6))
        except SyntaxError as error:
            broken.append(f"{path.relative_to(root)}:{error.lineno}: {error.msg}")
    return broken


def long_functions(root: Path) -> list[str]:
    """Functions of more than FUNCTION_LIMIT_LINES lines. Those of a docstring do not count, as
    nobody should save on them."""
    broken = []
    for path in files(root, *DRIVER_SIDE, *PROVISIONER_SIDE):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = _lines(node) - (_lines(node.body[0]) if ast.get_docstring(node) else 0)
                name = f"{path.relative_to(root)}: {node.name}"
                if lines > FUNCTION_LIMIT_LINES:
                    broken.append(f"{name} has {lines} lines")
    return broken


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


API = "cluster/controller/cluster.py"
PATH_MAKERS = {"path_to", "in_namespace", "selected", "claim_path"}
COLLECTIONS = {"CLAIMS", "VOLUMES", "CLASSES", "NODES", "NAMESPACES", "PODS"}
REQUESTS = {"get", "items", "create", "patch", "delete"}


def raw_paths(root: Path) -> list[str]:
    """Paths of the API server's objects that are put together in place: a name that anyone may
    have written would lead to any other path. Only cluster.PATH_MAKERS put paths together."""
    broken = []
    for path in files(root, *PROVISIONER_SIDE):
        name = path.relative_to(root).as_posix()
        tree = ast.parse(path.read_text())
        if name == API:
            tree.body = [one for one in tree.body if getattr(one, "name", "") not in PATH_MAKERS]
        variables = _path_variables(tree)
        for node in ast.walk(tree):
            spelled = name != API and _spells_a_path(node)
            if spelled or _joins_a_path(node, variables) or _asks_for_joined(node):
                broken.append(f"{name}:{getattr(node, 'lineno', 0)} puts a path together")
    return broken


def _spells_a_path(node: ast.AST) -> bool:
    text = node.value if isinstance(node, ast.Constant) else None
    return isinstance(text, str) and text.startswith(("/api/", "/apis/"))


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


def _joins_a_path(node: ast.AST, variables: set[str]) -> bool:
    """A sum with a path in it, an f-string in which more of a path follows one, or a path that is
    given to `format` or `join`."""
    if isinstance(node, ast.Call) and _last_name(node.func) in ("format", "join"):
        given = [inner for one in node.args for inner in getattr(one, "elts", [one])]
        return any(_is_path(one, variables) for one in given)
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Mod)):
        return _is_path(node.left, variables) or _is_path(node.right, variables)
    if not isinstance(node, ast.JoinedStr):
        return False
    for part, following in zip(node.values, node.values[1:], strict=False):
        is_path = isinstance(part, ast.FormattedValue) and _is_path(part.value, variables)
        text = following.value if isinstance(following, ast.Constant) else ""
        if is_path and str(text).startswith(("/", "?")):
            return True
    return False


def _asks_for_joined(node: ast.AST) -> bool:
    """A request whose path is joined in its very argument."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
        return False
    asked = _last_name(node.func.value).strip("_") in ("api", "cluster")
    joined = isinstance(node.args[0], (ast.JoinedStr, ast.BinOp))
    return asked and node.func.attr in REQUESTS and joined


def unplaced(root: Path) -> list[str]:
    """Sources that no row of the table is for, or that neither artefact holds."""
    held = {
        path.name for path in (root / name for name in (*DRIVER_SIDE, *pack_provisioner.CONTENTS))
    }
    return [path.name for path in sorted(root.glob("*.py")) if path.name not in held]


def helpers_in_tests(root: Path) -> list[str]:
    """Tests that take something from another test or from a conftest: what several tests use has
    its own module, and a conftest has fixtures only."""
    return [
        f"{found.file} imports {found.module}"
        for found in imports(root, "tests")
        if found.module.rpartition(".")[2].startswith(("test_", "conftest"))
    ]


RULES = [
    forbidden_imports,
    foreign_imports,
    slow_imports,
    caller_in_callouts,
    names_of_drivers,
    newer_syntax,
    long_functions,
    raw_paths,
    unplaced,
    helpers_in_tests,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_sources_keep(rule: Callable[[Path], list[str]]) -> None:
    assert rule(ROOT) == []


BAD = [
    (forbidden_imports, "shared/protocol.py", "from shared import process"),
    (forbidden_imports, "node/host/files.py", "from node.drivers import Driver"),
    (forbidden_imports, "node/host/files.py", "def late():\n    import node.drivers.loop"),
    (forbidden_imports, "flexvol.py", "from node.host import mounts"),
    (forbidden_imports, "flexvol.py", "import node.drivers.loop"),
    (forbidden_imports, "node/commands/status.py", "from node.drivers.loop import pools"),
    (forbidden_imports, "cluster/controller/decide.py", "from shared import caller"),
    (forbidden_imports, "cluster/controller/decide.py", "from node.drivers import Driver"),
    (forbidden_imports, "cluster/controller/cluster.py", "from cluster.controller import decide"),
    (forbidden_imports, "provisioner.py", "from shared import caller"),
    (forbidden_imports, "shared/process.py", "import tests.conftest"),
    (foreign_imports, "node/host/files.py", "import requests"),
    (foreign_imports, "cluster/controller/decide.py", "import kubernetes.client"),
    (foreign_imports, "provisioner.py", "def late():\n    from urllib3 import exceptions"),
    (slow_imports, "shared/protocol.py", "import json"),
    (slow_imports, "node/drivers/loop/pools.py", "from dataclasses import dataclass"),
    (slow_imports, "node/host/log.py", "import logging"),
    (
        caller_in_callouts,
        "node/drivers/loop/__init__.py",
        "def late():\n    from shared import caller",
    ),
    (names_of_drivers, "node/commands/install.py", "PREPARE = 'node.drivers.loop'"),
    (names_of_drivers, "flexvol.py", "x = LoopDriver"),
    (newer_syntax, "node/host/files.py", "if (n := 1): pass"),
    (newer_syntax, "node/host/files.py", "def f(a, /): pass"),
    (long_functions, "node/host/files.py", "def f():\n" + "    x = 1\n" * 50),
    (long_functions, "node/host/files.py", "class A:\n    def f(self):\n" + "        x = 1\n" * 50),
    (raw_paths, "cluster/controller/orphans.py", "x = '/api/v1/nodes'"),
    (
        raw_paths,
        "cluster/controller/orphans.py",
        "def f(node):\n    return f'/api/v1/nodes/{node}'",
    ),
    (
        raw_paths,
        "cluster/controller/orphans.py",
        "def f(name):\n    return f'{cluster.VOLUMES}/{name}'",
    ),
    (raw_paths, "cluster/kubectl/static.py", "def f(name):\n    return VOLUMES + '/' + name"),
    (raw_paths, "cluster/kubectl/static.py", "def f(name):\n    return '%s/x' % (name,) + NODES"),
    (raw_paths, "cluster/kubectl/static.py", "def f(name):\n    return '{}/x'.format(VOLUMES)"),
    (raw_paths, "cluster/kubectl/static.py", "def f(name):\n    return '/'.join((VOLUMES, name))"),
    (raw_paths, "cluster/kubectl/move.py", "def f(api, a):\n    api.get(a + '/status')"),
    (raw_paths, "cluster/kubectl/move.py", "def f(self, a):\n    self._api.delete(f'{a}/x', 'u')"),
    (
        raw_paths,
        "cluster/controller/capacity.py",
        "def f(self, n, name):\n"
        "    self._mine = cluster.in_namespace(n, 'pods')\n"
        "    return f'{self._mine}/{name}'",
    ),
    (
        raw_paths,
        "cluster/controller/events.py",
        "def f(n):\n    path = in_namespace(n, 'events')\n    return f'{path}?watch=true'",
    ),
    (raw_paths, "cluster/controller/cluster.py", "def f(name):\n    return f'{VOLUMES}/{name}'"),
    (unplaced, "helpers.py", "x = 1"),
    (helpers_in_tests, "tests/unit/test_x.py", "from tests.unit.test_decide import claim"),
    (helpers_in_tests, "tests/node/pools.py", "from tests.node.conftest import node"),
]


@pytest.mark.parametrize(("rule", "file", "source"), BAD)
def test_the_rule_finds(
    rule: Callable[[Path], list[str]], file: str, source: str, tmp_path: Path
) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source + "\n")

    assert len(rule(tmp_path)) == 1


GOOD = [
    ("node/host/files.py", "def late():\n    import json\n    import subprocess"),
    (
        "node/host/mounts.py",
        "TYPE_CHECKING = False\n"
        "if TYPE_CHECKING:\n    import typing\n    from node.drivers import Driver",
    ),
    (
        "node/commands/demo.py",
        "import argparse\nfrom shared import caller\nfrom node.host import mounts",
    ),
    (
        "node/drivers/loop/volumes.py",
        "from node.drivers.loop import image\nfrom node.drivers import Driver",
    ),
    ("cluster/controller/cluster.py", "import kubernetes.client\nimport urllib3.exceptions"),
    ("cluster/controller/storage.py", "from shared import caller\nfrom shared import protocol"),
    (
        "cluster/controller/cluster.py",
        "def path_to(collection, name):\n    return f'{collection}/{name}'",
    ),
    (
        "cluster/controller/delete.py",
        "def f(api, name):\n"
        "    path = cluster.path_to(cluster.VOLUMES, name)\n"
        "    api.get(cluster.path_to(path, 'status'))\n"
        "    return f'{path}: it is changed all the time'",
    ),
    ("node/host/files.py", 'def f():\n    """' + "words\n" * 500 + '"""\n' + "    x = 1\n" * 49),
]


@pytest.mark.parametrize(("file", "source"), GOOD)
def test_the_rules_allow(file: str, source: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source + "\n")

    assert [found for rule in RULES for found in rule(tmp_path)] == []
