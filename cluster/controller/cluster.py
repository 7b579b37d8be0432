"""The door to the Kubernetes API, and the only file that imports its client. Objects are plain
dicts here, and errors become two: Refused (the server said no) and
Unreachable (it said nothing)."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import re
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import urlencode

import kubernetes.client
import kubernetes.config
import kubernetes.config.kube_config
import kubernetes.stream
import kubernetes.watch.watch
import urllib3.connection
import urllib3.exceptions
import websocket

Object = dict[str, Any]
_log = logging.getLogger("cluster")

CLAIMS = "/api/v1/persistentvolumeclaims"
VOLUMES = "/api/v1/persistentvolumes"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
NODES = "/api/v1/nodes"
NAMESPACES = "/api/v1/namespaces"
PODS = "/api/v1/pods"
STORAGE, COORDINATION = "/apis/storage.k8s.io/v1", "/apis/coordination.k8s.io/v1"
APPS = "/apis/apps/v1"

# The names that the objects have whose paths are made here: DNS subdomains.
_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?")
_NAME_LENGTH = 253
_NO_OBJECT = "-"  # every object's name begins with a letter or a digit
# What may be sent: segments of names, and behind a question mark what urlencode has escaped.
_PATH = re.compile(r"(/(?!\.+(/|\?|$))[-.a-zA-Z0-9]+)+(\?[-.~_=&+%a-zA-Z0-9]*)?")
# Objects in a page of a list. From Kubernetes 1.34 on the API server takes pages from its watch
# cache (feature ListFromCacheSnapshot), and older ones from etcd. A Node has 12 KB and more.
_PAGE = 500
_PAGE_OF = {NODES: 50}
# Who has to list anew does so within this time, as all nodes have to at once.
_SPREAD_SECONDS = 3.0
_CONNECTIONS = 32
_WATCH_SECONDS = 240
_WATCH_AT_LEAST_SECONDS = 10  # one that ends sooner, and had nothing to say, is none
_ANSWER_SECONDS = 30
_PRINTED_BYTES = 64 << 20  # a list of ten thousand volumes has about 4 MB
_CLOSE = 8  # a WebSocket's last frame
# Log a broken watch from the second failure in a row; single disconnects are normal.
_SAID_AFTER = 2
_PAUSE_FIRST_SECONDS, _PAUSE_LIMIT_SECONDS = 0.5, 10.0
_RETRY_AFTER_LIMIT_SECONDS = 60.0
# A peer that is gone without a word is noticed within half a minute, also where we only wait for
# what it says.
_KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]


class Refused(Exception):
    """The API server answered with an error. status: its HTTP status. retry_after_seconds: what it
    asked us to wait."""

    def __init__(self, status: int, message: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_seconds = retry_after_seconds

    @property
    def passes(self) -> bool:
        """Whether it is the server's own trouble, and not the request's."""
        return self.status == 429 or self.status >= 500

    @property
    def lacking(self) -> str:
        """The right we lack, as RBAC says it ('cannot create resource "events"'), or an empty
        string."""
        found = re.search(r'cannot \S+ resource "[^"]+"', str(self)) if self.status == 403 else None
        return found.group() if found else ""


class Unreachable(Exception):
    """The API server did not answer."""


def pause_seconds(failures: int, error: Exception, lists_anew: bool = False) -> float:
    """How long to wait after so many failures in a row: longer each time, and no less than the
    server asked for. lists_anew: a whole list comes next, which all nodes may want at once."""
    pause = min(_PAUSE_LIMIT_SECONDS, _PAUSE_FIRST_SECONDS * 2.0 ** min(failures, 10))
    asked: float = getattr(error, "retry_after_seconds", 0.0)
    spread = random.uniform(0.0, _SPREAD_SECONDS) if lists_anew else 0.0
    return max(pause * random.uniform(0.75, 1.25), asked * random.uniform(1.0, 1.25)) + spread


# What is raised of a kubeconfig that cannot be read or is no YAML, and of YAML of something else.
_UNREADABLE = (
    kubernetes.config.ConfigException,
    kubernetes.config.kube_config.yaml.YAMLError,
    OSError,
    UnicodeDecodeError,
)
_MISSHAPEN = (AttributeError, KeyError, TypeError)


def _kubectls_files() -> str:
    """Where kubectl looks for its kubeconfig, if none is named: files with colons between them."""
    return os.environ.get("KUBECONFIG") or "~/.kube/config"


def _is_for_the_pod() -> bool:
    """Whether we are in a pod and its service account is meant. As for kubectl, that counts only
    where there is no kubeconfig."""
    if "KUBERNETES_SERVICE_HOST" not in os.environ:
        return False
    files = filter(None, _kubectls_files().split(":"))
    return not any(os.path.exists(os.path.expanduser(file)) for file in files)


def _context(files: str, name: str | None) -> Object:
    """The context of that name, or the current one: as for kubectl, that which the first of the
    files names. The client takes the last one's, which may be of another cluster.

    :raises kubernetes.config.ConfigException: if there is no such context."""
    merger = kubernetes.config.kube_config.KubeConfigMerger(files)
    configs = list(merger.config_files.values())
    if not configs:
        raise kubernetes.config.ConfigException(
            "there is no such file; name one with --kubeconfig, or in KUBECONFIG"
        )
    contexts: Object = {}
    for config in configs:
        for one in config.get("contexts") or []:
            contexts.setdefault(one["name"], one)
    known = ", ".join(contexts) or "none"
    current = next(filter(None, (config.get("current-context") for config in configs)), "")
    if not name and not current:
        raise kubernetes.config.ConfigException(
            f"it has no current context; name one with --context; it has: {known}"
        )
    if (name or current) not in contexts:
        raise kubernetes.config.ConfigException(
            f"it has no context {name or current}; it has: {known}"
        )
    return dict(contexts[name or current])


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
    return path_to(in_namespace(namespace, "persistentvolumeclaims"), name)


class Cluster:
    """One connection pool to one API server."""

    def __init__(self, kubeconfig: str | None, context: str | None = None) -> None:
        """kubeconfig: the file to use; None: kubectl's own, or, in a pod where there is none, its
        service account. context: of the file, instead of its current one. Raises Unreachable if
        they cannot be used."""
        configuration = kubernetes.client.Configuration()
        chosen: Object = {}
        files = kubeconfig or _kubectls_files()
        what = f"the kubeconfig {files}"
        try:
            if kubeconfig or context or not _is_for_the_pod():
                chosen = _context(files, context)
                kubernetes.config.load_kube_config(
                    files, context=chosen["name"], client_configuration=configuration
                )
            else:
                what = "the pod's service account"
                kubernetes.config.load_incluster_config(client_configuration=configuration)
        except _UNREADABLE as error:
            raise Unreachable(f"{what} cannot be used: {error}") from None
        except _MISSHAPEN:
            raise Unreachable(f"{what} cannot be used: it has not the form of one") from None
        self._context = chosen
        configuration.connection_pool_maxsize = _CONNECTIONS
        configuration.retries = False
        kubernetes.client.Configuration.set_default(configuration)
        self._client = kubernetes.client.ApiClient(configuration)
        self.failing: dict[str, str] = {}  # why a collection cannot be followed now
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
        """What a person knows the cluster by, and its API server's address."""
        server = str(self._client.configuration.host)
        if not self._context:
            return f"of this pod ({server})"
        cluster_name = self._context["context"].get("cluster", "")
        return f"{cluster_name} ({server}), context {self._context['name']}"

    @property
    def namespace(self) -> str:
        """That of the kubeconfig's context, as kubectl takes it where none is said."""
        return str((self._context.get("context") or {}).get("namespace") or "default")

    def get(self, path: str, seconds: float = _ANSWER_SECONDS) -> Object | None:
        """The object at `path`, read live; None if it is not there."""
        try:
            return self._call("GET", path, seconds=seconds)
        except Refused as error:
            if error.status == 404:
                return None
            raise

    def claim(self, whose: Object) -> Object | None:
        """The claim with that namespace, name and uid, as a claimRef or a claim's metadata has
        them, read live; None if it is not there, or another one has its name."""
        namespace, name, uid = (whose.get(key) for key in ("namespace", "name", "uid"))
        claim = self.get(claim_path(namespace, name)) if namespace and name and uid else None
        return claim if claim is not None and claim["metadata"]["uid"] == uid else None

    def uid(self) -> str:
        """The uid of kube-system, which stands for the cluster, read live; empty if there is
        none."""
        namespace = self.get(path_to(NAMESPACES, "kube-system"))
        return str(namespace["metadata"]["uid"]) if namespace else ""

    def items(self, path: str) -> Iterator[Object]:
        """All that the list at `path` has, in pages; nothing if there is no such list."""
        following = ""
        while True:
            words = {"limit": str(_PAGE), "continue": following}
            page = self.get(selected(path, **words)) or {}
            yield from page.get("items") or []
            following = page.get("metadata", {}).get("continue") or ""
            if not following:
                return

    def create(self, path: str, body: Object) -> Object:
        return self._call("POST", path, body)

    def patch(self, path: str, body: Object, seconds: float = _ANSWER_SECONDS) -> Object | None:
        """Merges `body` into the object; None if it is not there. Its metadata.resourceVersion is a
        precondition."""
        try:
            return self._call(
                "PATCH", path, body, {"Content-Type": "application/merge-patch+json"}, seconds
            )
        except Refused as error:
            if error.status == 404:
                return None
            raise

    def delete(self, path: str, uid: str) -> None:
        """Deletes the object if it still has that uid; one that is gone is fine."""
        try:
            self._call("DELETE", path, {"preconditions": {"uid": uid}})
        except Refused as error:
            if error.status != 404:
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
        headers = {
            "Accept": "application/json",
            "Content-Type": "application/json",
            **(headers or {}),
        }
        try:
            answer: Object = self._client.call_api(
                path,
                method,
                header_params=headers,
                body=body,
                response_type="object",
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _request_timeout=seconds,
            )
        except (
            kubernetes.client.ApiException,
            urllib3.exceptions.HTTPError,
            OSError,
            ValueError,
        ) as error:
            raise _translated(error, f"{method} {path}") from None
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
        does.

        feed: what the program reads from its standard input, which is never closed: the program
        must know the end. take: what is done with what the program prints, as it comes. seconds:
        how long there may be silence. Returns its exit status, what it printed (if not taken), and
        its errors. Raises Refused, also if the program cannot be started, or Unreachable."""
        printed, errors, ending = bytearray(), bytearray(), bytearray()
        channels = {1: take or printed.extend, 2: errors.extend, 3: ending.extend}
        what = f"exec {argv[0]} in {pod}"
        try:
            stream = self._start(pod, argv, feed is not None)
            # The client's own loop polls the connection and does not see what TLS has read.
            connection = stream.sock
            with contextlib.ExitStack() as after:
                after.callback(connection.shutdown)
                connection.settimeout(seconds)
                going = True
                for piece in feed or ():
                    stream.write_stdin(piece)
                    while going and _has_news(connection.sock):
                        going = _receive(connection, channels)
                    if not going:  # the program has ended, and says why
                        break
                while going and _receive(connection, channels):
                    if len(printed) + len(errors) > _PRINTED_BYTES:
                        raise ValueError(f"it printed more than {_PRINTED_BYTES} bytes")
        except (
            kubernetes.client.ApiException,
            websocket.WebSocketException,
            OSError,
            ValueError,
        ) as error:
            raise _translated(error, what) from None
        status = _exit_status(bytes(ending), what)
        return status, bytes(printed), errors.decode(errors="replace")

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

    def follow(
        self,
        path: str,
        changed: Callable[[Object], None],
        listed: Callable[[set[str]], None],
        gone: Callable[[Object], None],
        back: Callable[[], None],
    ) -> None:
        """Never returns: lists in pages and then watches one of CLAIMS, VOLUMES, CLASSES, NODES,
        for ever.

        changed: each object that is there or changes.
        listed: the uids of all that are there, after each list.
        gone: each object that goes.
        back: the server answers again after a while.
        Errors are survived with growing pauses and said once."""
        version, failures = "", 0
        while True:
            opened = float("inf")
            try:
                if not version:
                    version = self._list(path, changed, listed)
                stream = self._watch(path, version)
                opened = time.monotonic()
                if failures >= _SAID_AFTER:
                    _log.info("watching %s again", path)
                    back()
                self.failing.pop(path, None)
                for event in _events(stream):
                    failures, opened = 0, float("-inf")
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] in ("ADDED", "MODIFIED"):
                        changed(event["object"])
                    elif event["type"] == "DELETED":
                        gone(event["object"])
                if time.monotonic() - opened < _WATCH_AT_LEAST_SECONDS:
                    raise ConnectionError("the watch ended at once")
            except Exception as error:  # whatever it is: a watch that has ended unseen is worse
                said = _translated(error, "WATCH " + path)
                if _needs_list(error, said):
                    version = ""
                has_lasted = time.monotonic() - opened >= _WATCH_AT_LEAST_SECONDS
                failures = 1 if has_lasted else failures + 1
                if failures >= _SAID_AFTER:
                    self.failing[path] = str(said)
                if failures == _SAID_AFTER:
                    _log.warning("cannot watch: %s", said)
                time.sleep(pause_seconds(failures, said, lists_anew=not version))

    def _list(
        self, path: str, changed: Callable[[Object], None], listed: Callable[[set[str]], None]
    ) -> str:
        seen, following, version = set(), None, ""
        while True:
            words = {
                "limit": _PAGE_OF.get(path, _PAGE),
                "_preload_content": False,
                "_request_timeout": _ANSWER_SECONDS,
            }
            if following:
                words["_continue"] = following
            answer = self._lists[path](**words)
            page = json.loads(answer.data)  # reading it all gives the connection back
            for item in page.get("items") or []:
                seen.add(item["metadata"]["uid"])
                changed(item)
            version = page["metadata"]["resourceVersion"]
            following = page["metadata"].get("continue")
            if not following:
                listed(seen)
                return str(version)

    def _watch(self, path: str, version: str) -> Any:
        return self._lists[path](
            watch=True,
            resource_version=version,
            allow_watch_bookmarks=True,
            _preload_content=False,
            timeout_seconds=random.randint(_WATCH_SECONDS // 2, _WATCH_SECONDS),
            _request_timeout=(_ANSWER_SECONDS, _WATCH_SECONDS + _ANSWER_SECONDS),
        )


def _needs_list(error: Exception, said: Exception) -> bool:
    """Whether a watch cannot go on from where it was: after 410 Gone, a refusal, or something odd.
    A connection that was cut, and a server that is busy, leave the version as good as before."""
    is_cut = isinstance(error, (urllib3.exceptions.HTTPError, OSError))
    return not is_cut and getattr(said, "status", 0) != 429


def _events(stream: Any) -> Iterator[Object]:
    """Not the client's own loop over a watch: that passes over a line it cannot read, and what it
    said is lost."""
    try:
        for line in kubernetes.watch.watch.iter_resp_lines(stream):
            event = json.loads(line)
            if event["type"] == "ERROR":
                raise kubernetes.client.ApiException(
                    event["object"].get("code"), event["object"].get("message")
                )
            yield event
    finally:
        stream.close()
        stream.release_conn()


def _has_news(connection: Any) -> bool:
    read_already = isinstance(connection, ssl.SSLSocket) and connection.pending()
    return bool(read_already or select.select([connection], [], [], 0)[0])


def _receive(connection: Any, channels: dict[int, Callable[[bytes], None]]) -> bool:
    """One frame of a program's output, to the channel it is for; False at the end."""
    kind, frame = connection.recv_data_frame()
    if kind != _CLOSE and frame.data:
        channels.get(frame.data[0], len)(frame.data[1:])
    return bool(kind != _CLOSE)


def _exit_status(ending: bytes, what: str) -> int:
    """Of a program, from what is said at its end. Raises Refused if it was never started."""
    try:
        end = json.loads(ending)
        if end["status"] == "Success":
            return 0
        causes = {
            one.get("reason"): one.get("message")
            for one in (end.get("details") or {}).get("causes") or []
        }
        if "ExitCode" in causes:
            return int(causes["ExitCode"])
        refused = Refused(int(end.get("code", 500)), f"{what}: {end['message']}")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unreachable(f"{what}: the connection ended before the program did") from None
    raise refused


def _translated(error: Exception, what: str) -> Exception:
    status = getattr(error, "status", None)
    stream = re.match(
        r"Handshake status (\d+) .* -\+-\+- (.*)", str(getattr(error, "reason", "")), re.DOTALL
    )
    if stream:  # one that was refused; the client has put all of it into one text
        status, body = int(stream[1]), stream[2]
    else:
        body = getattr(error, "body", "")
    if not isinstance(status, int) or status == 0:
        return Unreachable(f"{what}: {type(error).__name__}: {error}")
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        message = getattr(error, "reason", "")
    asked = str((getattr(error, "headers", None) or {}).get("Retry-After", ""))
    after = min(float(asked), _RETRY_AFTER_LIMIT_SECONDS) if asked.isdecimal() else 0.0
    return Refused(status, f"{what}: {status} {message}", after)
