"""The door to the Kubernetes API, and the only file that imports its client. Objects are plain
dicts here, quantities
become integers, and errors become two: Refused (the server said no) and Unreachable (it said
nothing)."""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
import random
import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import quote

import kubernetes.client
import kubernetes.config
import kubernetes.leaderelection.electionconfig
import kubernetes.leaderelection.leaderelection
import kubernetes.leaderelection.leaderelectionrecord
import kubernetes.stream
import kubernetes.utils
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
PODS = "/api/v1/pods"

_PAGE = 500
_CONNECTIONS = 32
_WATCH_SECONDS = 240
_WATCH_AT_LEAST_SECONDS = 10  # one that ends sooner, and had nothing to say, is none
_ANSWER_SECONDS = 30
_PRINTED_BYTES = 64 << 20  # a list of ten thousand volumes has about 4 MB
_CLOSE = 8  # a WebSocket's last frame
_SAID_AFTER = 2  # a connection that is cut once is no news
_PAUSE_FIRST_SECONDS, _PAUSE_LIMIT_SECONDS = 0.5, 10.0
_LEASE_ANSWER_SECONDS = 4  # two of them and a pause must fit into the renewal's time
LEASE_SECONDS, _RENEW_SECONDS, _RETRY_SECONDS = 15, 10, 2
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


def pause_seconds(failures: int, error: Exception) -> float:
    """How long to wait after so many failures in a row: longer each time, and no less than the
    server asked for."""
    pause = min(_PAUSE_LIMIT_SECONDS, _PAUSE_FIRST_SECONDS * 2.0 ** min(failures, 10))
    asked: float = getattr(error, "retry_after_seconds", 0.0)
    return max(pause * random.uniform(0.75, 1.25), asked * random.uniform(1.0, 1.25))


def size_bytes(quantity: str) -> int:
    """ "1Gi" -> 1073741824; fractions of a byte are rounded up. Raises ValueError."""
    return int(-(-kubernetes.utils.parse_quantity(quantity) // 1))


def path_to(collection: str, name: str) -> str:
    """For a name that anyone may have written: it is one segment of the path, and never leads
    elsewhere."""
    return f"{collection}/{quote(name, safe='') if name.strip('.') else '-'}"


def claim_path(namespace: str, name: str) -> str:
    return path_to(path_to("/api/v1/namespaces", namespace) + "/persistentvolumeclaims", name)


class Cluster:
    """One connection pool to one API server."""

    def __init__(self, kubeconfig: str | None) -> None:
        """kubeconfig: the file to use; None: in a pod its service account, elsewhere kubectl's own
        file. Raises Unreachable if it cannot be used."""
        configuration = kubernetes.client.Configuration()
        try:
            if kubeconfig or "KUBERNETES_SERVICE_HOST" not in os.environ:
                kubernetes.config.load_kube_config(kubeconfig, client_configuration=configuration)
            else:
                kubernetes.config.load_incluster_config(client_configuration=configuration)
        except kubernetes.config.ConfigException as error:
            raise Unreachable(f"the kubeconfig cannot be used: {error}") from None
        configuration.connection_pool_maxsize = _CONNECTIONS
        configuration.retries = False
        kubernetes.client.Configuration.set_default(configuration)
        self._client = kubernetes.client.ApiClient(configuration)
        self.failing: dict[str, str] = {}  # why a collection cannot be followed now
        options = [*urllib3.connection.HTTPConnection.default_socket_options, *_KEEPALIVE]
        self._client.rest_client.pool_manager.connection_pool_kw["socket_options"] = options
        core, storage = (
            kubernetes.client.CoreV1Api(self._client),
            kubernetes.client.StorageV1Api(self._client),
        )
        self._lists = {
            CLAIMS: core.list_persistent_volume_claim_for_all_namespaces,
            VOLUMES: core.list_persistent_volume,
            CLASSES: storage.list_storage_class,
            NODES: core.list_node,
        }

    @property
    def server(self) -> str:
        """The address of the API server, as the kubeconfig has it."""
        return str(self._client.configuration.host)

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
        namespace = self.get("/api/v1/namespaces/kube-system")
        return str(namespace["metadata"]["uid"]) if namespace else ""

    def items(self, path: str) -> Iterator[Object]:
        """All that the list at `path` has, in pages; nothing if there is no such list."""
        following = ""
        while True:
            page = self.get(f"{path}?limit={_PAGE}&continue={quote(following)}") or {}
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

        changed: each object that is there or changes. listed: the uids of all that are there, after
        each list.
        gone: each object that goes. back: the server answers again after a while.
        Errors are survived with growing pauses and said once.
        """
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
                if (
                    not isinstance(error, (urllib3.exceptions.HTTPError, OSError))
                    and getattr(said, "status", 0) != 429
                ):
                    version = ""  # 410 Gone, a refusal, or something odd: begin again with a list
                failures = (
                    failures + 1 if time.monotonic() - opened < _WATCH_AT_LEAST_SECONDS else 1
                )
                if failures >= _SAID_AFTER:
                    self.failing[path] = str(said)
                if failures == _SAID_AFTER:
                    _log.warning("cannot watch: %s", said)
                time.sleep(pause_seconds(failures, said))

    def _list(
        self, path: str, changed: Callable[[Object], None], listed: Callable[[set[str]], None]
    ) -> str:
        seen, following, version = set(), None, ""
        while True:
            words = {"limit": _PAGE, "_preload_content": False, "_request_timeout": _ANSWER_SECONDS}
            if following:
                words["_continue"] = following
            page = json.loads(
                self._lists[path](**words).data
            )  # reading it all gives the connection back
            for item in page.get("items") or []:
                seen.add(item["metadata"]["uid"])
                changed(item)
            version, following = (
                page["metadata"]["resourceVersion"],
                page["metadata"].get("continue"),
            )
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

    def lead(
        self,
        namespace: str,
        name: str,
        identity: str,
        started: Callable[[], None],
        stopped: Callable[[], None],
    ) -> Lease:
        """Takes part in the election for the Lease `name`, in threads of its own, for ever.
        `started` and `stopped` are called each time leadership comes and goes; the returned lease
        is released at the end."""
        lease = Lease(self, namespace, name, identity)
        config = kubernetes.leaderelection.electionconfig.Config(
            lease,
            LEASE_SECONDS,
            _RENEW_SECONDS,
            _RETRY_SECONDS,
            onstarted_leading=started,
            onstopped_leading=stopped,
        )

        def stand() -> None:
            while True:
                try:
                    kubernetes.leaderelection.leaderelection.LeaderElection(config).run()
                except Exception:  # an election that has ended unseen is worse
                    _log.exception("bug in the election")
                    time.sleep(_RETRY_SECONDS)

        threading.Thread(target=stand, name="election", daemon=True).start()
        return lease


class Lease:
    """What the client's election loop asks of a lock, kept in a coordination.k8s.io Lease, with
    what that loop lacks: it survives an API server that is away, and lets go at the end."""

    _KEYS = ("holderIdentity", "leaseDurationSeconds", "acquireTime", "renewTime")

    def __init__(self, cluster: Cluster, namespace: str, name: str, identity: str) -> None:
        self.name, self.namespace, self.identity = name, namespace, identity
        self._cluster = cluster
        self._renewed = float(
            "-inf"
        )  # by the monotonic clock, when the last renewal that succeeded was sent
        self._said = ""
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._path = f"{self._collection}/{name}"
        self._version = ""
        self._released = False

    def held(self) -> bool:
        """Whether it is ours for certain: others may have it before the election loop says that it
        is lost."""
        return time.monotonic() - self._renewed < LEASE_SECONDS

    def get(self, _name: str, _namespace: str) -> tuple[bool, Any]:
        record = kubernetes.leaderelection.leaderelectionrecord.LeaderElectionRecord
        try:
            lease = self._cluster.get(self._path, _LEASE_ANSWER_SECONDS)
        except (Refused, Unreachable) as error:
            self._say(error)
            return False, _Answer(500, str(error))
        if lease is None:
            return False, _Answer(404, "not found")
        self._version = lease["metadata"]["resourceVersion"]
        spec = lease.get("spec") or {}
        if not spec.get("holderIdentity"):
            return True, None  # released: free for anyone
        if spec["holderIdentity"] != self.identity:
            self._renewed = float("-inf")
        return True, record(spec["holderIdentity"], *(str(spec.get(key)) for key in self._KEYS[1:]))

    def create(self, name: str, namespace: str, election_record: Any) -> bool:
        body = {
            "metadata": {"name": name, "namespace": namespace},
            "spec": self._spec(election_record),
        }
        return self._try(lambda: self._cluster.create(self._collection, body))

    def update(self, _name: str, _namespace: str, updated_record: Any) -> bool:
        body = {"metadata": {"resourceVersion": self._version}, "spec": self._spec(updated_record)}
        return self._try(lambda: self._cluster.patch(self._path, body, _LEASE_ANSWER_SECONDS))

    def release(self) -> None:
        """Lets go, if it is ours, so that another takes over at once."""
        self._released = True  # a renewal that is on its way may still come first
        for _ in range(2):
            there, record = self.get(self.name, self.namespace)
            if not there or record is None or record.holder_identity != self.identity:
                return
            body = {"metadata": {"resourceVersion": self._version}, "spec": {"holderIdentity": ""}}
            try:
                self._cluster.patch(self._path, body, _LEASE_ANSWER_SECONDS)
            except (Refused, Unreachable) as error:
                _log.info("lease %s not released: %s", self.name, error)

    def _try(self, call: Callable[[], Object | None]) -> bool:
        began = time.monotonic()
        try:
            done = not self._released and call() is not None
        except (Refused, Unreachable) as error:
            self._say(error)
            return False
        if done:
            self._renewed, self._said = began, ""
        return done

    def _say(self, error: Refused | Unreachable) -> None:
        """Once, until the lease is ours again. That another was faster is no news."""
        passes = not isinstance(error, Refused) or error.passes or error.status == 409
        if not passes and str(error) != self._said:
            self._said = str(error)
            _log.warning("cannot take part in the election: %s", error)

    def _spec(self, record: Any) -> Object:
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(record.lease_duration),
            "renewTime": now,
        }


class _Answer:
    """The shape in which the election loop wants an error."""

    def __init__(self, code: int, reason: str) -> None:
        self.body = json.dumps({"code": code})
        self.reason = reason


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
