"""Leaves out the parts of the official client that nobody here uses: a class for each kind of
object, and the calls of each API group.

The client imports about 700 classes of objects and 60 of API groups when it is imported. Here
objects are JSON, so nearly all of these classes cost memory and time for nothing: a third of the
memory that a provisioner has after its imports, as tests/unit/cluster/controller/
test_client_parts.py measures. The modules that are left out exist by name, and each of their
classes raises an error that says so."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Sequence
from typing import Any

_MODELS = "kubernetes.client.models."
_APIS = "kubernetes.client.api."
# The API groups that cluster.py works with.
USED = frozenset((_APIS + "core_v1_api", _APIS + "storage_v1_api"))


class LeftOut:
    """Stands for a class of the client that nobody here uses."""

    def __init__(self, *_: object, **__: object) -> None:
        raise NotImplementedError(
            f"{type(self).__name__} of the Kubernetes client is left out: add its "
            "module to USED in cluster/controller/client_parts.py"
        )


class _Module(types.ModuleType):
    """A module that has a class of every name."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        left_out = type(name, (LeftOut,), {})
        setattr(self, name, left_out)
        return left_out


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds, in front of Python's own finders, the modules that are left out."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname in USED or not fullname.startswith((_MODELS, _APIS)):
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """There is nothing in the module to run."""


def leave_out() -> None:
    """From now on the client is imported without the parts that are not USED. To be called before
    the first import of the client."""
    sys.meta_path.insert(0, _Finder())
