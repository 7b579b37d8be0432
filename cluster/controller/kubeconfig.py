"""Which cluster is meant: a kubeconfig and its context, or the service account of our pod, as
kubectl chooses them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import kubernetes.client
import kubernetes.config
import kubernetes.config.kube_config

Object = dict[str, Any]
# What the client raises for a kubeconfig that cannot be read or is no YAML.
_UNREADABLE = (
    kubernetes.config.ConfigException,
    kubernetes.config.kube_config.yaml.YAMLError,
    OSError,
    UnicodeDecodeError,
)
# What the client raises for YAML that is no kubeconfig.
_MISSHAPEN = (AttributeError, KeyError, TypeError)


class Unusable(Exception):
    """The kubeconfig, or the service account of our pod, cannot be used."""


@dataclass(frozen=True)
class Access:
    """The way to one API server.

    configuration: for the official client.
    context: as the kubeconfig has it; empty for the service account of our pod."""

    configuration: kubernetes.client.Configuration
    context: Object


def access(kubeconfig: str | None, context: str | None) -> Access:
    """The way that a person or our pod means.

    kubeconfig: the file to use; None for kubectl's own, or, in a pod without one, for its service
    account.
    context: of the file, in place of its current one.
    :raises Unusable: if the kubeconfig, its context or the service account cannot be used."""
    if kubeconfig or context or not _is_for_the_pod():
        files = kubeconfig or _kubectls_files()
        return _loaded(f"the kubeconfig {files}", files, context)
    return _loaded("the pod's service account", "", None)


def _loaded(source: str, files: str, context: str | None) -> Access:
    """files: none for the service account."""
    configuration = kubernetes.client.Configuration()
    chosen: Object = {}
    try:
        if files:
            chosen = _context(files, context)
            kubernetes.config.load_kube_config(
                files, context=chosen["name"], client_configuration=configuration
            )
        else:
            kubernetes.config.load_incluster_config(client_configuration=configuration)
    except _UNREADABLE as error:
        raise Unusable(f"{source} cannot be used: {error}") from None
    except _MISSHAPEN:
        raise Unusable(f"{source} cannot be used: it has not the form of one") from None
    return Access(configuration, chosen)


def _kubectls_files() -> str:
    """Where kubectl looks for its kubeconfig if none is named: files with colons between them."""
    return os.environ.get("KUBECONFIG") or "~/.kube/config"


def _is_for_the_pod() -> bool:
    """Whether we are in a pod and its service account is meant. For kubectl, too, the service
    account counts only where there is no kubeconfig."""
    if "KUBERNETES_SERVICE_HOST" not in os.environ:
        return False
    files = filter(None, _kubectls_files().split(":"))
    return not any(os.path.exists(os.path.expanduser(file)) for file in files)


def _context(files: str, name: str | None) -> Object:
    """The context of that name, or the current one: for kubectl, that which the first of the files
    names. The client takes that of the last file, which may be of another cluster.

    :raises kubernetes.config.ConfigException: if there is no such context."""
    merger = kubernetes.config.kube_config.KubeConfigMerger(files)
    configs = list(merger.config_files.values())
    if not configs:
        raise kubernetes.config.ConfigException(
            "there is no such file; name one with --kubeconfig, or in KUBECONFIG"
        )
    contexts: Object = {}
    for config in configs:
        for context in config.get("contexts") or []:
            contexts.setdefault(context["name"], context)
    known = ", ".join(contexts) or "none"
    chosen = name or _current_context(configs)
    if not chosen:
        raise kubernetes.config.ConfigException(
            f"it has no current context; name one with --context; it has: {known}"
        )
    if chosen not in contexts:
        raise kubernetes.config.ConfigException(f"it has no context {chosen}; it has: {known}")
    return dict(contexts[chosen])


def _current_context(configs: list[Object]) -> str:
    """That of the first file that names one; "" if none does."""
    for config in configs:
        if config.get("current-context"):
            return str(config["current-context"])
    return ""
