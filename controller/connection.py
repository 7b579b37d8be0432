"""HTTP to the API server: where it is, who we are, a request and its answer.

Not by the official client: its classes for 700 kinds of objects, which are plain dicts here, would be most of a
provisioner's memory and start, on every node. Outside the cluster it reads the kubeconfig.
"""

from __future__ import annotations

import json
import os
import urllib.parse
from collections.abc import Callable
from typing import Any

import urllib3

_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_CONNECTIONS = 32
_Login = tuple[str, Callable[[], str], dict[str, Any]]  # the server, the Authorization header, settings of TLS


class Answered(Exception):
    """The server answered with an error. status: its HTTP status. headers, body: as they came."""

    def __init__(self, status: int, reason: str, body: bytes | str = b"", headers: Any = None) -> None:
        super().__init__(f"{status} {reason}")
        self.status, self.reason, self.body, self.headers = status, reason, body, headers


class Connection:
    """A pool of connections to one API server. All methods may be called by any thread."""

    def __init__(self, kubeconfig: str | None, **options: Any) -> None:
        """kubeconfig: the file to use outside the cluster; None: the pod's service account. options: urllib3's."""
        self._server, self._authorization, tls = _person(kubeconfig) if kubeconfig else _service_account()
        self._pool = urllib3.PoolManager(maxsize=_CONNECTIONS, retries=False, **tls, **options)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        kind: str = "application/json",
        timeout: urllib3.Timeout | float | None = None,
        stream: bool = False,
        **words: str | int,
    ) -> Any:
        """urllib3's response. words: the query. kind: of the body, which is sent as JSON. stream: it is read by the
        caller, who also closes it. Raises Answered for a status of 400 or more, and urllib3's HTTPError or OSError."""
        headers = {"Accept": "application/json", "Content-Type": kind, "Authorization": self._authorization()}
        answer = self._pool.request(
            method, self._server + path + ("?" + urllib.parse.urlencode(words) if words else ""), redirect=False,
            body=None if body is None else json.dumps(body), headers=headers, timeout=timeout,
            preload_content=not stream,
        )  # fmt: skip
        if answer.status >= 400:
            raise Answered(answer.status, answer.reason or "", answer.data, answer.headers)
        return answer


def _service_account() -> _Login:
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]

    def authorization() -> str:
        with open(_ACCOUNT + "/token", encoding="ascii") as file:  # each time: kubelet renews it
            return "Bearer " + file.read().strip()

    host = f"[{host}]" if ":" in host else host
    return f"https://{host}:{port}", authorization, {"ca_certs": _ACCOUNT + "/ca.crt"}


def _person(kubeconfig: str) -> _Login:
    import kubernetes.client  # late: see above
    import kubernetes.config

    found = kubernetes.client.Configuration()
    kubernetes.config.load_kube_config(kubeconfig, client_configuration=found)
    tls = {
        "cert_reqs": "CERT_REQUIRED" if found.verify_ssl else "CERT_NONE",
        "ca_certs": found.ssl_ca_cert,
        "cert_file": found.cert_file,
        "key_file": found.key_file,
        "server_hostname": found.tls_server_name,
    }
    given = {key: value for key, value in tls.items() if value}
    return found.host, lambda: found.get_api_key_with_prefix("authorization") or "", given
