"""./build.sh new-driver NAME: a driver of one's own in drivers/NAME, from the driver's file to the
manifests that bring it to a cluster.

The driver is examples/directory.py under another name. All other files are those of
bundle/skeleton, which are about a driver called mydriver: its folder `both`, and that of the
mode."""

from __future__ import annotations

import argparse
import ast
import keyword
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DRIVERS = ROOT / "drivers"
NODE = "node"
SHARED = "shared"
_SKELETON = ROOT / "bundle/skeleton"
_SKELETON_NAME = "mydriver"
_EXAMPLE = ROOT / "examples/directory.py"
# What in the example is about its name: the class, the directory and the pool.
_EXAMPLE_NAMES = ("DirectoryDriver", "/var/lib/flexvol-directory", '"directory"')
# A name becomes a part of others: of a Kubernetes object's, which ends at 63 characters, of a
# Python module's and of a provisioner's.
_NAME = re.compile(r"[a-z][a-z0-9]{0,29}")
# Words that YAML 1.1 reads as true, false or nothing. `shared` is the driver of deploy/shared. The
# chart refuses the same.
TAKEN = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "loop", "shared"}
# By this a driver's reply tells its pools.
_LISTS_POOLS = "pools="
_CSI_DRIVER = "csidriver.yaml"
_ACCOUNT_OF_SHARED = "../deploy/shared/account"
_KUSTOMIZATION = """\
# flexvol with your drivers: kubectl apply -k drivers. `./build.sh new-driver` adds a line for each.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - ../deploy
images:
  - {name: flexvol, newName: localhost/flexvol, newTag: dev}  # the one place that names a registry
"""
_DOCSTRING = """\
The driver {name}. It began as examples/directory.py.

docs/your-own-driver/python.md has what a driver may use, and how it sets a size limit."""
_NEXT = """\
Next:
  ./build.sh test drivers/{name}
  ./build.sh image --driver drivers/{name}/{name}.py
  kubectl apply -k drivers              when dist/image.tar is on the nodes, or in your registry
  kubectl apply -k drivers/{name}/example
docs/your-own-driver.md explains each step."""


def main(words: Sequence[str]) -> None:
    """:param words: those behind `./build.sh new-driver`
    :raises SystemExit: with a sentence, if there can be no such driver"""
    settings = _arguments(words)
    target = DRIVERS / settings.name
    _check(settings.name, target)
    source = first_source(settings.name)
    if settings.source is not None:
        source = _source_in(settings.source)
    write(target, settings.mode, source)
    print(_added(settings.name, settings.mode))
    print(_NEXT.format(name=settings.name))


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="build.sh new-driver",
        description="Write a driver of your own, its test and its manifests to drivers/NAME.",
    )
    parser.add_argument("name", metavar="NAME", help="lower case letters and digits")
    parser.add_argument(
        "--mode",
        choices=(NODE, SHARED),
        default=NODE,
        help="node: each node makes the volumes of its own storage (default); shared: one "
        "provisioner makes those of storage that every node reaches",
    )
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FILE",
        help="a driver that you have, in place of the one to begin with",
    )
    return parser.parse_args(words)


def _check(name: str, target: Path) -> None:
    if _NAME.fullmatch(name) is None:
        raise SystemExit(
            f"new-driver: {name} is no name for a driver: it has 1 to 30 lower case letters and "
            "digits, and begins with a letter"
        )
    # pytest finds drivers/NAME/NAME.py before a module of that name, which the driver's test needs.
    modules = (ROOT / name, ROOT / f"{name}.py", ROOT / "node/drivers" / name)
    is_module = any(module.exists() for module in modules)
    if keyword.iskeyword(name) or name in TAKEN or is_module:
        raise SystemExit(f"new-driver: the name {name} is taken, by Python, YAML or flexvol")
    if target.exists():
        raise SystemExit(f"new-driver: {target.relative_to(ROOT)} is there already")


def _source_in(file: Path) -> str:
    """The text of a driver that a person has."""
    try:
        text = file.read_bytes().decode()
        ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise SystemExit(
            f"new-driver: {file} is no Python ({error}); a driver in another language is a file "
            "that a ConfigMap brings to the nodes, as docs/your-own-driver/lvm.md shows"
        ) from None
    return text


def first_source(name: str) -> str:
    """The text of the driver to begin with."""
    text = _EXAMPLE.read_text()
    docstring = ast.get_docstring(ast.parse(text), clean=False) or ""
    text = text.replace(docstring, _DOCSTRING.format(name=name), 1)
    for old in _EXAMPLE_NAMES:
        text = text.replace(old, _renamed(old, "directory", name))
    return text


def _renamed(text: str, before: str, name: str) -> str:
    return text.replace(before, name).replace(before.capitalize(), name.capitalize())


def write(target: Path, mode: str, source: str) -> None:
    """Writes all files of the driver, or none.

    :param target: the directory to make; its name is the driver's
    :param mode: NODE or SHARED
    :param source: the text of the driver's file"""
    name = target.name
    target.parent.mkdir(exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=target.parent, prefix="."))
    try:
        for folder in ("both", mode):
            _copy(_SKELETON / folder, aside, name)
        (aside / f"{name}.py").write_text(source)
        if mode == NODE and _LISTS_POOLS not in source:
            _leave_pools_out(aside)
        aside.chmod(0o755)
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _copy(source: Path, target: Path, name: str) -> None:
    for file in sorted(source.rglob("*")):
        if file.suffix not in (".py", ".yaml"):
            continue
        relative = _renamed(str(file.relative_to(source)), _SKELETON_NAME, name)
        copy = target / relative
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(_renamed(file.read_text(), _SKELETON_NAME, name))


def _leave_pools_out(directory: Path) -> None:
    """Without pools there must be no CSIDriver object: no node would have room."""
    _replace(
        directory / "deploy/kustomization.yaml",
        f"  - {_CSI_DRIVER}\n",
        f"  # Add {_CSI_DRIVER} when the driver's `list` has pools.\n",
    )
    _replace(directory / "values.yaml", "listsPools: true", "listsPools: false")


def _replace(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    if before not in text:
        raise ValueError(f"{file.name} has no {before!r}")
    file.write_text(text.replace(before, after))


def _added(name: str, mode: str) -> str:
    """Adds the driver to drivers/kustomization.yaml, and returns a sentence about that."""
    file = DRIVERS / "kustomization.yaml"
    text = file.read_text() if file.exists() else _KUSTOMIZATION
    wanted = [f"{name}/deploy"]
    if mode == SHARED:
        wanted.insert(0, _ACCOUNT_OF_SHARED)
    missing = [each for each in wanted if f"  - {each}\n" not in text]
    changed = _with_resources(text, missing)
    if changed is None:
        names = " and ".join(missing)
        return f"drivers/{name} is written. Add {names} to resources in drivers/kustomization.yaml"
    file.write_text(changed)
    return f"drivers/{name} is written, and drivers/kustomization.yaml has it."


def _with_resources(text: str, more: list[str]) -> str | None:
    """The kustomization with more resources; None if a person has given it another form."""
    found = re.search(r"^resources:\n(?:  - .*\n)*", text, re.MULTILINE)
    if found is None:
        return None
    lines = "".join(f"  - {each}\n" for each in more)
    return text[: found.end()] + lines + text[found.end() :]
