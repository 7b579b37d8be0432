"""Who may import whom, and the other rules of the house that keep a reader's way short.

Each rule is a function from a source tree to the list of what breaks the rule, so that each rule is
also shown to find something in a bad tree. docs/architecture.md says why they are so."""

from __future__ import annotations

import ast
import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bundle import pack_provisioner
from tests.unit.sources import (
    DRIVER_SIDE,
    OURS,
    PROVISIONER_SIDE,
    ROOT,
    Import,
    files,
    imports,
    parsed,
)

# The three roots: what each may import of the two entries and the roots. node/ ends in dist/flexvol
# and cluster/ in dist/provisioner, so neither is there where the other one runs.
ROOTS = {
    "shared": {"shared"},
    "node": {"node", "shared"},
    "cluster": {"cluster", "shared"},
    "examples": {"node", "shared"},
}
ENTRIES = {"flexvol", "provisioner"}
# A file or folder -> what of ours it may import. A name stands for all that is below it, and the
# longest row that fits counts.
MAY_IMPORT = {
    "shared/protocol.py": set[str](),
    "shared/options.py": {"shared.protocol"},
    "shared/process_table.py": set(),
    "shared/deadlines.py": {"shared.process_table", "shared.protocol"},
    "shared/children.py": {"shared.deadlines", "shared.process_table"},
    "shared/process.py": {"shared.deadlines", "shared.process_table", "shared.protocol"},
    "shared/caller.py": {"shared"},
    "shared/json_schema.py": {"shared.protocol"},
    "shared/schemas.py": {"shared.json_schema", "shared.options", "shared.protocol"},
    "shared/terminal.py": set(),
    "shared/table.py": {"shared.terminal"},
    "shared/progress.py": {"shared.table", "shared.terminal"},
    "flexvol.py": {"shared", "node.callouts", "node.commands", "node.host.log"},
    "node/callouts.py": {"shared", "node.drivers", "node.host.log"},
    "node/zipapp.py": {"shared.protocol"},
    "node/operations.py": {"shared"},
    "node/drivers/__init__.py": {"shared", "node.host", "node.operations"},
    "node/drivers": {
        "shared",
        "node.host",
        "node.directories",
        "node.drivers",
        "node.operations",
    },
    "node/drivers/loop": {
        "shared",
        "node.host",
        "node.drivers",
        "node.drivers.loop",
        "node.operations",
    },
    "node/directories": {"shared", "node.host", "node.directories"},
    "node/host": {"shared", "node.host"},
    "node/commands": {"shared", "node"},
    "node/sanity": {"shared", "node.host", "node.sanity"},
    "provisioner.py": {"shared.options", "shared.protocol", "cluster"},
    "cluster/kubectl": {
        "shared.options",
        "shared.protocol",
        "shared.table",
        "shared.terminal",
        "shared.progress",
        "cluster",
    },
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
        "cluster.controller.driver_calls",
        "cluster.controller.driver_replies",
        "cluster.controller.metrics",
    },
    "cluster/controller/cluster.py": {
        "cluster.controller.api_errors",
        "cluster.controller.execute",
        "cluster.controller.kubeconfig",
    },
    "cluster/controller/metrics.py": {"shared.options"},
}
# The doors to the world: a module -> the only files and folders that may import it.
DOORS = {
    # the API server
    "kubernetes": {
        "cluster/controller/cluster.py",
        "cluster/controller/kubeconfig.py",
        "cluster/controller/quantities.py",
    },
    "urllib3": {"cluster/controller/cluster.py"},
    "websocket": {"cluster/controller/execute.py"},
    "prometheus_client": {"cluster/controller/metrics.py"},
    # the machine
    "ctypes": {"node/host", "shared/process.py"},
    "fcntl": {"node/host", "node/drivers/loop/by_hand/trimming.py"},
    # drivers and other programs
    "shared.caller": {
        "cluster/controller/storage.py",
        "cluster/kubectl/nodes.py",
        "node/commands",
        "node/sanity",
    },
    "subprocess": set(),
    # the contract's schemas, which no callout needs
    "shared.schemas": {"node/commands", "node/sanity"},
    "shared.json_schema": {"shared/schemas.py"},
}
# What makes nothing of an order, and what keeps the order that a value has.
ORDERLESS = ("sorted", "set", "frozenset", "any", "all", "len", "sum", "min", "max")
ORDERING = ("list", "tuple", "enumerate", "iter", ".join", "dict.fromkeys")
# Each of these modules costs a callout milliseconds; the callout imports it late, or does without.
SLOW = {
    "argparse",
    "dataclasses",
    "enum",
    "json",
    "logging",
    "re",
    "shutil",
    "signal",
    "socket",
    "subprocess",
    "tempfile",
    "typing",
}
CALLOUT_PATH = (
    "shared/protocol.py",
    "shared/options.py",
    "shared/process_table.py",
    "shared/deadlines.py",
    "shared/children.py",
    "shared/process.py",
    "flexvol.py",
    "node/callouts.py",
    "node/operations.py",
    "node/drivers",
    "node/directories",
    "node/host",
)
BY_HAND = "by_hand"
# A longer function does more than one thing. Denser lines do not help to keep this limit, because
# ruff limits those.
FUNCTION_LIMIT_LINES = 50


def crossed_roots(root: Path) -> list[str]:
    """Imports from one root in another that does not end in the same file."""
    broken = []
    for place, allowed in ROOTS.items():
        for found in imports(root, place):
            if found.top in OURS - ENTRIES and found.top not in allowed:
                broken.append(str(found))
    return broken


def imported_entries(root: Path) -> list[str]:
    """Imports of flexvol.py and provisioner.py, which only start what lies in their roots."""
    places = [*DRIVER_SIDE, *PROVISIONER_SIDE, "bundle", "examples"]
    return [str(found) for found in imports(root, *places) if found.top in ENTRIES]


def forbidden_imports(root: Path) -> list[str]:
    """Imports of ours that MAY_IMPORT does not allow. Those of the type checker are free."""
    broken = []
    for found in imports(root, *DRIVER_SIDE, *PROVISIONER_SIDE):
        if found.top in OURS and not found.is_for_types and not _is_allowed(found.file, found):
            broken.append(str(found))
    return broken


def _is_allowed(file: str, found: Import) -> bool:
    loop = "node.drivers.loop"
    if found.is_of(loop):  # only a driver itself knows its parts
        return file.startswith(loop.replace(".", "/") + "/")
    rows = [row for row in MAY_IMPORT if (file + "/").startswith(row + "/")]
    if not rows:
        return False
    return any(found.is_of(name) for name in MAY_IMPORT[max(rows, key=len)])


def outside_packages(root: Path) -> list[str]:
    """Anything but the standard library on the driver side, and packages on the provisioner's side
    that have no door."""
    broken = []
    for side, doors in ((DRIVER_SIDE, set[str]()), (PROVISIONER_SIDE, set(DOORS))):
        for found in imports(root, *side):
            if found.top not in sys.stdlib_module_names | OURS | doors:
                broken.append(str(found))
    return broken


def passed_doors(root: Path) -> list[str]:
    """Imports of a module that has a door, elsewhere."""
    broken = []
    for found in imports(root, *DRIVER_SIDE, *PROVISIONER_SIDE):
        for module, places in DOORS.items():
            is_door = any((found.file + "/").startswith(place + "/") for place in places)
            if found.is_of(module) and not is_door:
                broken.append(str(found))
    return broken


def slow_imports(root: Path) -> list[str]:
    """Imports that every callout pays for: of SLOW modules, and of a driver's folder by_hand, which
    only commands need."""
    broken = []
    for found in imports(root, *CALLOUT_PATH):
        if found.is_late or found.is_for_types or BY_HAND in found.file.split("/"):
            continue
        if found.top in SLOW or BY_HAND in found.module.split("."):
            broken.append(str(found))
    return broken


def names_of_drivers(root: Path) -> list[str]:
    """Files that know drivers/loop by name: to delete that folder must change nothing else but the
    word for the default driver."""
    broken = []
    for path in files(root, *DRIVER_SIDE, *PROVISIONER_SIDE):
        name = path.relative_to(root).as_posix()
        if name.startswith("node/drivers/loop/"):
            continue
        text = path.read_text()
        for word in ("drivers.loop", "drivers/loop", "LoopDriver"):
            if word in text:
                broken.append(f"{name} names {word}")
    return broken


def newer_syntax(root: Path) -> list[str]:
    """Files of the driver side that Python 3.6 cannot parse."""
    broken = []
    for path in files(root, *DRIVER_SIDE):
        try:
            ast.parse(path.read_text(), feature_version=(3, 6))
        except SyntaxError as error:
            broken.append(f"{path.relative_to(root)}:{error.lineno}: {error.msg}")
    return broken


def long_functions(root: Path) -> list[str]:
    """Functions of more than FUNCTION_LIMIT_LINES lines. The lines of a docstring do not count, as
    nobody should save on those."""
    broken = []
    for path in files(root, *DRIVER_SIDE, *PROVISIONER_SIDE):
        for node in ast.walk(parsed(path)):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            lines = _lines(node)
            if ast.get_docstring(node):
                lines -= _lines(node.body[0])
            if lines > FUNCTION_LIMIT_LINES:
                broken.append(f"{path.relative_to(root)}: {node.name} has {lines} lines")
    return broken


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def folded_assignments(root: Path) -> list[str]:
    """Assignments of several values in one line, `a, b = x, y`, that are no exchange."""
    broken = []
    for path in files(root, *DRIVER_SIDE, *PROVISIONER_SIDE, "bundle", "examples"):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Assign) and _is_folded(node):
                broken.append(f"{path.relative_to(root)}:{node.lineno}")
    return broken


def _is_folded(node: ast.Assign) -> bool:
    target = node.targets[0]
    if not isinstance(target, ast.Tuple) or not isinstance(node.value, ast.Tuple):
        return False
    names = {ast.unparse(name) for name in target.elts}
    values = {ast.unparse(value) for value in node.value.elts}
    return names != values


def orders_of_chance(root: Path) -> list[str]:
    """Loops over a set, whose order is another one in each process: it reaches messages, manifests
    and the order of work."""
    broken = []
    for path in files(root, *DRIVER_SIDE, *PROVISIONER_SIDE, "bundle", "examples"):
        tree = parsed(path)
        makes_no_order = set(_without_order(tree))
        for node in ast.walk(tree):
            if node in makes_no_order:
                continue
            for looped in _looped_over(node):
                if _is_set(looped):
                    broken.append(f"{path.relative_to(root)}:{looped.lineno}")
    return broken


def _without_order(tree: ast.Module) -> Iterator[ast.AST]:
    """The loops in brackets whose result has no order: sets, and what sorted and the like take."""
    for node in ast.walk(tree):
        if isinstance(node, ast.SetComp):
            yield node
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ORDERLESS:
            yield from node.args


def _looped_over(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.For):
        yield node.iter
    if isinstance(node, (ast.ListComp, ast.DictComp, ast.GeneratorExp, ast.SetComp)):
        for generator in node.generators:
            yield generator.iter
    if isinstance(node, (ast.List, ast.Tuple)):
        for element in node.elts:
            if isinstance(element, ast.Starred):
                yield element.value
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(ORDERING):
        yield from node.args


def _is_set(node: ast.expr) -> bool:
    """Whether the expression alone shows that its value is a set."""
    if isinstance(node, ast.BinOp):
        return _is_set(node.left) or _is_set(node.right)
    if isinstance(node, ast.Call):
        return ast.unparse(node.func) in ("set", "frozenset")
    return isinstance(node, (ast.Set, ast.SetComp))


def unplaced(root: Path) -> list[str]:
    """Sources at the top of the tree that neither artefact holds."""
    held = {*DRIVER_SIDE, *pack_provisioner.CONTENTS}
    return [path.name for path in sorted(root.glob("*.py")) if path.name not in held]


def helpers_in_tests(root: Path) -> list[str]:
    """Tests that take something from another test or from a conftest."""
    broken = []
    for found in imports(root, "tests"):
        module = found.module.rpartition(".")[2]
        if module.startswith(("test_", "conftest")):
            broken.append(str(found))
    return broken


def import_circles(root: Path) -> list[str]:
    """No module imports itself through others: a reader could begin with none of them."""
    imported: dict[str, set[str]] = {}
    for found in imports(root, *DRIVER_SIDE, *PROVISIONER_SIDE):
        if found.is_late or found.is_for_types:
            continue
        path = found.module.replace(".", "/")
        candidates = {f"{path}.py", f"{path}/__init__.py"}
        existing = {name for name in candidates if (root / name).exists()}
        imported.setdefault(found.file, set()).update(existing)
    return [name for name in sorted(imported) if name in _reached(imported, name)]


def _reached(imported: dict[str, set[str]], name: str) -> set[str]:
    """All files that the file imports, and those that these import, and so on."""
    reached: set[str] = set()
    left = set(imported.get(name, ()))
    while left:
        following = left.pop()
        if following not in reached:
            reached.add(following)
            left |= imported.get(following, set())
    return reached


@dataclasses.dataclass(frozen=True)
class Rule:
    """One rule, and what to do where it is broken."""

    find: Callable[[Path], list[str]]
    remedy: str

    def __str__(self) -> str:
        return self.find.__name__


RULES = [
    Rule(crossed_roots, "Move what both need to shared/, or keep it on the side that uses it."),
    Rule(imported_entries, "Move what is needed out of the entry, into node/ or cluster/."),
    Rule(
        forbidden_imports,
        "Move the code to the layer that may know both, or pass the value as an argument. A new "
        "file that fits no row of MAY_IMPORT in tests/unit/test_layers.py gets a row.",
    ),
    Rule(
        outside_packages,
        "Use the standard library. A package that the provisioner cannot do without gets one file "
        "that imports it, in DOORS, and a line in bundle/requirements.in.",
    ),
    Rule(passed_doors, "Call a function of the files that DOORS has for that module, or add one."),
    Rule(import_circles, "Move what both need to a module of its own, below both."),
    Rule(slow_imports, "Import it in the function that needs it, or do without."),
    Rule(names_of_drivers, "Ask the driver by a method of Driver or of Operations."),
    Rule(newer_syntax, "A node may have Python 3.6: write it with the syntax of that version."),
    Rule(long_functions, "Give a part of the function a name of its own."),
    Rule(folded_assignments, "Write one assignment a line."),
    Rule(orders_of_chance, "Sort the set: for name in sorted(names)."),
    Rule(unplaced, "Move the file to shared/, node/ or cluster/."),
    Rule(
        helpers_in_tests,
        "Move what several tests use to a module of its own beside them; a conftest has fixtures "
        "only.",
    ),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_sources_keep(rule: Rule) -> None:
    broken = rule.find(ROOT)

    assert not broken, (
        f"{rule}: {rule.find.__doc__}\n"
        + "\n".join(broken)
        + f"\nWhat to do: {rule.remedy}\nWhy: docs/architecture.md"
    )


BAD = {
    "a loop over a set": (
        orders_of_chance,
        "cluster/kubectl/release.py",
        "for name in {one, *others}:\n    print(name)",
    ),
    "a list of what two sets share": (
        orders_of_chance,
        "node/drivers/loop/node_pools.py",
        "names = [name for name in set(looks) - certain]",
    ),
    "a message with a set in it": (
        orders_of_chance,
        "bundle/release.py",
        "text = ', '.join({name for name in names})",
    ),
    "a module of the contract imports another one": (
        forbidden_imports,
        "shared/protocol.py",
        "from shared import process",
    ),
    "the machine's door knows drivers": (
        forbidden_imports,
        "node/host/files.py",
        "from node.drivers import Driver",
    ),
    "the machine's door knows the loop driver, in a function": (
        forbidden_imports,
        "node/host/files.py",
        "def late():\n    import node.drivers.loop",
    ),
    "the driver's entry goes to the machine": (
        forbidden_imports,
        "flexvol.py",
        "from node.host import mounts",
    ),
    "the driver's entry knows the loop driver": (
        forbidden_imports,
        "flexvol.py",
        "import node.drivers.loop",
    ),
    "a command knows a part of the loop driver": (
        forbidden_imports,
        "node/commands/status.py",
        "from node.drivers.loop import pool",
    ),
    "a decision runs drivers": (
        forbidden_imports,
        "cluster/controller/decide.py",
        "from shared import caller",
    ),
    "the API server's door knows decisions": (
        forbidden_imports,
        "cluster/controller/cluster.py",
        "from cluster.controller import decide",
    ),
    "the provisioner's entry runs drivers": (
        forbidden_imports,
        "provisioner.py",
        "from shared import caller",
    ),
    "a source imports a test": (forbidden_imports, "shared/process.py", "import tests.conftest"),
    "a file that has no row": (forbidden_imports, "node/helpers.py", "from shared import protocol"),
    "the cluster's side imports the node's": (
        crossed_roots,
        "cluster/controller/decide.py",
        "from node.drivers import Driver",
    ),
    "the node's side imports the cluster's, in a function": (
        crossed_roots,
        "node/commands/status.py",
        "def late():\n    from cluster.controller import lost",
    ),
    "the shared side imports the node's, for its types": (
        crossed_roots,
        "shared/caller.py",
        "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    from node.host import log",
    ),
    "an example imports the cluster's side": (
        crossed_roots,
        "examples/directory.py",
        "import cluster.controller",
    ),
    "a command imports the entry": (imported_entries, "node/commands/trim.py", "import flexvol"),
    "the cluster's side imports its entry": (
        imported_entries,
        "cluster/kubectl/move.py",
        "def late():\n    import provisioner",
    ),
    "a package on the driver side": (outside_packages, "node/host/files.py", "import requests"),
    "a package of the provisioner's on the driver side": (
        outside_packages,
        "node/host/config.py",
        "import prometheus_client",
    ),
    "a package that has no door": (outside_packages, "cluster/controller/decide.py", "import yaml"),
    "the client's package elsewhere": (
        passed_doors,
        "cluster/controller/decide.py",
        "import kubernetes.client",
    ),
    "a part of the client's elsewhere, in a function": (
        passed_doors,
        "provisioner.py",
        "def late():\n    from urllib3 import exceptions",
    ),
    "a driver makes a system call": (passed_doors, "node/drivers/loop/pools.py", "import fcntl"),
    "a program is run past process.run": (
        passed_doors,
        "node/commands/demo.py",
        "import subprocess",
    ),
    "a callout imports kubelet's side": (
        passed_doors,
        "node/drivers/loop/__init__.py",
        "def late():\n    from shared import caller",
    ),
    "a callout imports the schemas": (
        passed_doors,
        "node/callouts.py",
        "def late():\n    from shared import schemas",
    ),
    "the contract imports json": (slow_imports, "shared/protocol.py", "import json"),
    "a driver imports dataclasses": (
        slow_imports,
        "node/drivers/loop/pool.py",
        "from dataclasses import dataclass",
    ),
    "the log imports logging": (slow_imports, "node/host/log.py", "import logging"),
    "a callout imports what only commands need": (
        slow_imports,
        "node/drivers/loop/pools.py",
        "from node.drivers.loop.by_hand import reports",
    ),
    "a command names a part of the loop driver": (
        names_of_drivers,
        "node/commands/install.py",
        "PREPARE = 'node.drivers.loop'",
    ),
    "the entry names the loop driver's class": (names_of_drivers, "flexvol.py", "x = LoopDriver"),
    "an assignment in an expression": (
        newer_syntax,
        "node/host/files.py",
        "if (n := 1):\n    pass",
    ),
    "an argument by position only": (newer_syntax, "node/host/files.py", "def f(a, /): pass"),
    "a function of 51 lines": (
        long_functions,
        "node/host/files.py",
        "def f():\n" + "    x = 1\n" * 50,
    ),
    "a method of 51 lines": (
        long_functions,
        "node/host/files.py",
        "class A:\n    def f(self):\n" + "        x = 1\n" * 50,
    ),
    "a module imports itself": (
        import_circles,
        "node/host/files.py",
        "from node.host import files",
    ),
    "two values in one assignment": (folded_assignments, "bundle/pack.py", "a, b = 1, 2"),
    "a file at the top that nothing holds": (unplaced, "helpers.py", "x = 1"),
    "a test imports another one": (
        helpers_in_tests,
        "tests/unit/test_x.py",
        "from tests.unit.test_decide import claim",
    ),
    "a module of helpers imports a conftest": (
        helpers_in_tests,
        "tests/node/pools.py",
        "from tests.node.conftest import node",
    ),
}


@pytest.mark.parametrize(("rule", "file", "source"), BAD.values(), ids=BAD)
def test_the_rule_finds(
    rule: Callable[[Path], list[str]], file: str, source: str, tmp_path: Path
) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source + "\n")

    assert len(rule(tmp_path)) == 1


def test_each_rule_is_shown_to_find_something() -> None:
    assert {rule.find for rule in RULES} == {rule for rule, _, _ in BAD.values()}


GOOD = {
    "modules that are slow, in a function": (
        "node/host/files.py",
        "def late():\n    import json\n    import tempfile",
    ),
    "modules that are slow, where only commands need them": (
        "node/drivers/loop/by_hand/reports.py",
        "import json",
    ),
    "imports for the type checker": (
        "node/host/mounts.py",
        "TYPE_CHECKING = False\n"
        "if TYPE_CHECKING:\n    import typing\n    from node.drivers import Driver",
    ),
    "a command that plays kubelet": (
        "node/commands/demo.py",
        "import argparse\nfrom shared import caller\nfrom node.host import mounts",
    ),
    "parts of a driver among each other": (
        "node/drivers/loop/volumes.py",
        "from node.drivers.loop import image\nfrom node.drivers import Driver",
    ),
    "the API server's door": (
        "cluster/controller/cluster.py",
        "import kubernetes.client\nimport urllib3.exceptions",
    ),
    "the drivers' door": (
        "cluster/controller/storage.py",
        "from shared import caller\nfrom shared import protocol",
    ),
    "an exchange of two values": ("node/host/files.py", "a, b = b, a"),
    "the values that one call returns": ("node/host/files.py", "a, b = f()"),
    "a function of 50 lines below a long docstring": (
        "node/host/files.py",
        'def f():\n    """' + "words\n" * 500 + '"""\n' + "    x = 1\n" * 49,
    ),
}


@pytest.mark.parametrize(("file", "source"), GOOD.values(), ids=GOOD)
def test_the_rules_allow(file: str, source: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source + "\n")

    assert {str(rule): rule.find(tmp_path) for rule in RULES if rule.find(tmp_path)} == {}
