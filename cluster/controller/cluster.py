"""The door to the Kubernetes API. Objects are plain dicts here, and errors become two: Refused (the
server answered with an error) and Unreachable (it did not answer)."""

from __future__ import annotations

import json
import random
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import urlencode

import kubernetes.client
import kubernetes.stream
import kubernetes.watch.watch
import urllib3
import urllib3.connection
import urllib3.exceptions

from cluster.controller import execute, kubeconfig
from cluster.controller.api_errors import Refused as Refused
from cluster.controller.api_errors import Unreachable as Unreachable
from cluster.controller.api_errors import translated

Object = dict[str, Any]

CLAIMS = "/api/v1/persistentvolumeclaims"
VOLUMES = "/api/v1/persistentvolumes"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
NODES = "/api/v1/nodes"
NAMESPACES = "/api/v1/namespaces"
PODS = "/api/v1/pods"
STORAGE = "/apis/storage.k8s.io/v1"
COORDINATION = "/apis/coordination.k8s.io/v1"
APPS = "/apis/apps/v1"

# The names of all objects whose paths are made here are DNS subdomains.
_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?")
_NAME_LENGTH = 253
_NO_OBJECT = "-"  # every object's name begins with a letter or a digit
# The paths that are sent: segments of names, and behind a question mark a text that urlencode has
# escaped.
_PATH = re.compile(r"(/(?!\.+(/|\?|$))[-.a-zA-Z0-9]+)+(\?[-.~_=&+%a-zA-Z0-9]*)?")
# Objects in a page of a list. From Kubernetes 1.34 on the API server takes pages from its watch
# cache (feature ListFromCacheSnapshot), and older ones from etcd. A Node has 12 KB and more.
_PAGE = 500
_PAGE_OF = {NODES: 50}
_CONNECTIONS = 32
# A watch is ended by the API server after a random time between half of this and all of it, so that
# the watches of many nodes are not opened anew at the same moment.
_WATCH_SECONDS = 240
_ANSWER_SECONDS = 30
# A server that is gone without a word is noticed within half a minute, also while a watch only
# waits for its events.
_KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]
# The client raises these for a request that was refused, and for an answer that did not come or
# cannot be read.
_FAILED = (
    kubernetes.client.ApiException,
    urllib3.exceptions.HTTPError,
    OSError,
    ValueError,
)
_NOT_FOUND = 404


def path_to(collection: str, name: str) -> str:
    """The path of the object `name` of a collection, or of a subresource of an object.

    Anyone may have written the name (a claim's volumeName, a person's word). A name that no object
    can have leads to an object that is never there, and nowhere else. Escaping would not do: the
    API server decodes %2F before it splits the path, so that "pv-1/status" would lead to a
    subresource (k8s.io/apiserver/pkg/endpoints/request/requestinfo.go, NewRequestInfo)."""
    can_be = len(name) <= _NAME_LENGTH and _NAME.fullmatch(name) is not None
    return f"{collection}/{name if can_be else _NO_OBJECT}"


def in_namespace(namespace: str, plural: str, api: str = "/api/v1") -> str:
    """The path of a collection of one namespace. plural: as the API has it, "pods"."""
    return path_to(path_to(f"{api}/namespaces", namespace), plural)


def selected(collection: str, **selectors: str) -> str:
    """The path of a list that is limited: labelSelector="a=b" or fieldSelector, as the API has
    them."""
    return f"{collection}?{urlencode(selectors)}"


def claim_path(namespace: str, name: str) -> str:
    """The path of a claim."""
    return path_to(in_namespace(namespace, "persistentvolumeclaims"), name)


def is_cut(error: Exception) -> bool:
    """Whether the client raised the error because the connection broke or never came about."""
    return isinstance(error, (urllib3.exceptions.HTTPError, OSError))


class Cluster:
    """One connection pool to one API server."""

    def __init__(self, file: str | None, context: str | None = None) -> None:
        """file: the kubeconfig; None for kubectl's own, or, in a pod without one, for its service
        account.

        context: of the kubeconfig, in place of its current one.
        :raises Unreachable: if they cannot be used."""
        try:
            access = kubeconfig.access(file, context)
        except kubeconfig.Unusable as error:
            raise Unreachable(str(error)) from None
        self._context = access.context
        configuration = access.configuration
        configuration.connection_pool_maxsize = _CONNECTIONS
        configuration.retries = False
        if not configuration.verify_ssl:
            # The kubeconfig says insecure-skip-tls-verify. urllib3 would warn at each request;
            # kubectl does not warn of what a person has chosen.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        kubernetes.client.Configuration.set_default(configuration)
        self._client = kubernetes.client.ApiClient(configuration)
        options = [*urllib3.connection.HTTPConnection.default_socket_options, *_KEEPALIVE]
        self._client.rest_client.pool_manager.connection_pool_kw["socket_options"] = options
        core = kubernetes.client.CoreV1Api(self._client)
        storage = kubernetes.client.StorageV1Api(self._client)
        self._lists = {
            CLAIMS: core.list_persistent_volume_claim_for_all_namespaces,
            VOLUMES: core.list_persistent_volume,
            CLASSES: storage.list_storage_class,
            NODES: core.list_node,
        }

    @property
    def name(self) -> str:
        """The name by which a person knows the cluster, and the address of its API server."""
        server = str(self._client.configuration.host)
        if not self._context:
            return f"of this pod ({server})"
        cluster_name = self._context["context"].get("cluster", "")
        return f"{cluster_name} ({server}), context {self._context['name']}"

    @property
    def namespace(self) -> str:
        """The namespace of the kubeconfig's context, which kubectl takes where none is named."""
        context = self._context.get("context") or {}
        return str(context.get("namespace") or "default")

    def get(self, path: str, seconds: float = _ANSWER_SECONDS) -> Object | None:
        """The object at the path, read live; None if it is not there.

        seconds: how long an answer may take."""
        try:
            return self._call("GET", path, seconds=seconds)
        except Refused as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    def claim(self, reference: Object) -> Object | None:
        """The claim with that namespace, name and uid, read live; None if it is not there, or
        another claim has its name.

        reference: a claimRef, or a claim's metadata."""
        namespace = reference.get("namespace")
        name = reference.get("name")
        uid = reference.get("uid")
        if not namespace or not name or not uid:
            return None
        claim = self.get(claim_path(namespace, name))
        if claim is None or claim["metadata"]["uid"] != uid:
            return None
        return claim

    def uid(self) -> str:
        """The uid of the namespace kube-system, which stands for the cluster, read live; "" if
        there is no such namespace."""
        namespace = self.get(path_to(NAMESPACES, "kube-system"))
        if namespace is None:
            return ""
        return str(namespace["metadata"]["uid"])

    def items(self, path: str) -> Iterator[Object]:
        """All objects of the list at the path, read in pages; none if there is no such list."""
        following = ""
        while True:
            words = {"limit": str(_PAGE), "continue": following}
            page = self.get(selected(path, **words)) or {}
            yield from page.get("items") or []
            following = page.get("metadata", {}).get("continue") or ""
            if not following:
                return

    def create(self, path: str, body: Object) -> Object:
        """Creates an object in the collection at the path; returns it as it was written."""
        return self._call("POST", path, body)

    def patch(self, path: str, body: Object, seconds: float = _ANSWER_SECONDS) -> Object | None:
        """Merges the body into the object at the path; returns None if the object is not there.

        body: its metadata.resourceVersion, if it has one, is a precondition."""
        headers = {"Content-Type": "application/merge-patch+json"}
        try:
            return self._call("PATCH", path, body, headers, seconds)
        except Refused as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    def delete(self, path: str, uid: str) -> None:
        """Deletes the object at the path if it has that uid. An object that is gone is fine."""
        try:
            self._call("DELETE", path, {"preconditions": {"uid": uid}})
        except Refused as error:
            if error.status != _NOT_FOUND:
                raise

    def _call(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        headers: dict[str, str] | None = None,
        seconds: float = _ANSWER_SECONDS,
    ) -> Object:
        if not _PATH.fullmatch(path):
            raise Refused(
                400, f"{method} {path!r}: this is the path of no object; nothing was sent"
            )
        json_headers = {"Accept": "application/json", "Content-Type": "application/json"}
        try:
            answer: Object = self._client.call_api(
                path,
                method,
                header_params={**json_headers, **(headers or {})},
                body=body,
                response_type="object",
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _request_timeout=seconds,
            )
        except _FAILED as error:
            raise translated(error, f"{method} {path}") from None
        if not isinstance(answer, dict):
            raise Unreachable(
                f"{method} {path}: the answer is no object: it begins with {answer!r:.80}"
            )
        return answer

    def execute(
        self,
        pod: str,
        argv: list[str],
        feed: Iterable[bytes] | None = None,
        take: Callable[[bytes], None] | None = None,
        seconds: float = _ANSWER_SECONDS,
    ) -> tuple[int, bytes, str]:
        """Runs a program in the pod `namespace/name`, in its first container, as `kubectl exec`
        does. Returns the exit status, what the program printed (if that was not taken), and its
        errors.

        feed: what the program reads from its standard input, which is never closed: the program
        must know the end.
        take: what is done with what the program prints, as it comes.
        seconds: how long there may be silence.
        :raises Refused: also if the program cannot be started.
        :raises Unreachable: also if the connection breaks before the program ends."""
        request = f"exec {argv[0]} in {pod}"
        try:
            program = execute.Program(self._start(pod, argv, feed is not None), take)
            program.run(feed or (), seconds)
        except (kubernetes.client.ApiException, *execute.BROKEN) as error:
            raise translated(error, request) from None
        return program.ended(request)

    def _start(self, pod: str, argv: list[str], with_input: bool) -> Any:
        """Starts a program in the pod `namespace/name`; returns the client's stream to it."""
        namespace, name = pod.split("/")
        # A client of its own, because a stream changes how its client makes requests.
        client = kubernetes.client.ApiClient(self._client.configuration)
        api = kubernetes.client.CoreV1Api(client)
        return kubernetes.stream.stream(
            api.connect_get_namespaced_pod_exec,
            name,
            namespace,
            command=argv,
            stdin=with_input,
            stdout=True,
            stderr=True,
            binary=True,
            _preload_content=False,
        )

    def page(self, path: str, following: str) -> Object:
        """One page of the list of CLAIMS, VOLUMES, CLASSES or NODES, for a watch that goes on from
        it. Raises what the client raises; see api_errors.translated.

        following: where the page before ended; "" for the first page."""
        words: Object = {
            "limit": _PAGE_OF.get(path, _PAGE),
            "_request_timeout": _ANSWER_SECONDS,
        }
        if following:
            words["_continue"] = following
        answer = self._lists[path](**words, _preload_content=False)
        page: Object = json.loads(answer.data)  # reading all of it gives the connection back
        return page

    def watch(self, path: str, version: str) -> Iterator[Object]:
        """Opens a watch of CLAIMS, VOLUMES, CLASSES or NODES; returns its events. Raises what the
        client raises, as page does.

        version: of the list, or of the last event, from which the watch goes on."""
        seconds = random.randint(_WATCH_SECONDS // 2, _WATCH_SECONDS)
        stream = self._lists[path](
            watch=True,
            resource_version=version,
            allow_watch_bookmarks=True,
            _preload_content=False,
            timeout_seconds=seconds,
            _request_timeout=(_ANSWER_SECONDS, _WATCH_SECONDS + _ANSWER_SECONDS),
        )
        return _events(stream)


def _events(stream: Any) -> Iterator[Object]:
    """The events of a watch. The client's own loop is not used: it passes over a line that it
    cannot read, and with the line an error is lost."""
    try:
        for line in kubernetes.watch.watch.iter_resp_lines(stream):
            event = json.loads(line)
            thing = event["object"]
            if event["type"] == "ERROR":
                raise kubernetes.client.ApiException(
                    thing.get("code"),
                    thing.get("message"),
                )
            yield event
    finally:
        stream.close()
        stream.release_conn()
