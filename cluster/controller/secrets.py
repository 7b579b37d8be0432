"""A volume's Secret: which one its class means, whether kubelet will take it, and the Secrets made
for one volume each.

kubelet reads the Secret that a PV names, at every mount, and hands it to the driver. The
provisioner only looks at its type and owner: a value is made here once and otherwise not held.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from cluster.controller import cluster, decide, volume_manifest
from shared import options, protocol

Object = dict[str, Any]
RIGHTS = "deploy/secrets"
_NAME, _NAMESPACE, _CREATE = decide.SECRET_PARAMETERS
_KEY, _KEY_BYTES = "key", 32
_HASH_DIGITS = 8
_OF = "-key."  # between a volume and the instance that makes its Secret
_ANY = "pvc.annotations['KEY']"
_OWNER = ("flexvol/volume", "flexvol/claim-namespace", "flexvol/claim-name", "flexvol/claim-uid")
_WORD = re.compile(r"\$\{(.*?)\}")
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_VALID = {_NAMESPACE: (re.compile(_LABEL), 63), _NAME: (re.compile(rf"{_LABEL}(\.{_LABEL})*"), 253)}


class Reference(NamedTuple):
    """A Secret that a PV names. driver: the type that kubelet demands of it. owner: the annotations
    of one that is made for this volume alone; empty if it is only referred to."""

    namespace: str
    name: str
    driver: str
    owner: dict[str, str]

    def __str__(self) -> str:
        return f"secret {self.namespace}/{self.name}"


def wanted(
    claim: Object, storage_class: Object, us: decide.Identity, namespace: str
) -> Reference | None:
    """The Secret that the class means for the claim; None if it means none. namespace: of one that
    is to be made, if the class does not say. The claim's owner steers the name; of the namespace
    only his own. Raises InvalidArgument."""
    parameters = storage_class.get("parameters") or {}
    given = {key: parameters[key] for key in decide.SECRET_PARAMETERS if key in parameters}
    create = given.pop(_CREATE, "false")
    if create not in ("true", "false"):
        raise _wrong(
            f'{_CREATE} is {protocol.shown(create)}; it is "true" or "false"', storage_class
        )
    metadata, volume = claim["metadata"], volume_manifest.volume_name(claim)
    driver = us.drivers[storage_class["provisioner"]]
    words = {"pvc.namespace": metadata["namespace"], "pv.name": volume}
    if create == "true":
        if _NAME in given:
            raise _wrong(
                f"{_CREATE} makes a secret with the volume's name; remove {_NAME}, or it",
                storage_class,
            )
        owner = _owner(volume, metadata["namespace"], metadata["name"], metadata["uid"])
        where = _filled(_NAMESPACE, given.get(_NAMESPACE, namespace), words)
        return Reference(where, made_name(volume, us.name), driver, owner)
    if not given:
        return None
    if len(given) == 1:
        raise _wrong(
            f"{next(iter(given))} stands alone; give both {_NAME} and {_NAMESPACE}", storage_class
        )
    where = _filled(_NAMESPACE, given[_NAMESPACE], words)
    notes = {_ANY.replace("KEY", key): value for key, value in decide.annotations_of(claim).items()}
    words = {"pvc.name": metadata["name"], **words, **notes}
    return Reference(where, _filled(_NAME, given[_NAME], words), driver, {})


def _wrong(sentence: str, storage_class: Object) -> protocol.InvalidArgument:
    """Of parameters of the class that no claim can be served with."""
    advice = options.class_advice(storage_class["metadata"]["name"])
    return protocol.InvalidArgument(f"{sentence}; {advice}")


def _filled(parameter: str, template: str, words: dict[str, str]) -> str:
    """Each ${word} is replaced once: what a claim says is never itself a template."""

    def replaced(found: re.Match[str]) -> str:
        if found[1] in words:
            return words[found[1]]
        known = [word for word in words if "'" not in word] + ([_ANY] if parameter == _NAME else [])
        raise protocol.InvalidArgument(
            f"{parameter} has {protocol.shown(found[0])}, for which there is no value; "
            f"known are {', '.join(f'${{{word}}}' for word in known)}"
        )

    result = _WORD.sub(replaced, template)
    pattern, length = _VALID[parameter]
    if len(result) > length or not pattern.fullmatch(result):
        raise protocol.InvalidArgument(
            f"{parameter} {protocol.shown(template)} becomes {protocol.shown(result)}, which "
            "is not a DNS name"
        )
    return result


def made_name(volume: str, instance: str) -> str:
    """Of the Secret that the instance makes for the volume. A claim may go on to another node,
    whose instance may not touch this one's.

    A node's instance has the node's name, and deploy/secrets/policy.yaml lets a node make no Secret
    but under its own: else one node could make the Secret first that another is going to make."""
    if _VALID[_NAME][0].fullmatch(instance):
        return f"{volume}{_OF}{instance}"
    return f"{volume}-{hashlib.sha256(instance.encode()).hexdigest()[:_HASH_DIGITS]}"


def made_for(volume: Object) -> Reference | None:
    """The Secret that may have been made for this PV. A PV can say what it likes: what the Secret
    says counts, and that is for which volume it was made. The claim that the volume was made for
    does not count: the PV may be bound to another one by now (see owners.py)."""
    source = volume["spec"].get("flexVolume") or {}
    secret, name = source.get("secretRef") or {}, volume["metadata"]["name"]
    namespace = str(secret.get("namespace", ""))
    made = str(secret.get("name", ""))
    if not _is_made(made, name) or not _VALID[_NAMESPACE][0].fullmatch(namespace):
        return None
    return Reference(namespace, made, source["driver"], {_OWNER[0]: name})


def _is_made(secret: str, volume: str) -> bool:
    """Whether made_name can have made that name of that volume's. An older flexvol put a hash
    behind the name for nodes too."""
    before, _, instance = secret.partition(_OF)
    by_name = before == volume and _VALID[_NAME][0].fullmatch(instance) is not None
    return by_name or secret[: -_HASH_DIGITS - 1] == volume


def is_of(secret: Object, owner: dict[str, str]) -> bool:
    notes = decide.annotations_of(secret)
    return all(notes.get(key) == value for key, value in owner.items())


def _owner(volume: str, namespace: str, name: str, uid: str) -> dict[str, str]:
    return dict(zip(_OWNER, (volume, namespace, name, uid), strict=True))


class Secrets:
    """Looks for them, makes them and takes them away."""

    def __init__(self, api: cluster.Cluster, us: decide.Identity, namespace: str) -> None:
        """namespace: our own. Secrets are made in one beside it where nothing else is, because who
        may make Secrets in a namespace can get the token of each of its service accounts."""
        self._api, self._us, self._namespace = api, us, namespace + "-secrets"

    def wanted(self, claim: Object, storage_class: Object) -> Reference | None:
        return wanted(claim, storage_class, self._us, self._namespace)

    def checked(self, claim: Object, storage_class: Object) -> Reference | None:
        """The Secret for the claim's PV. What is there is one that kubelet will take, and this
        claim may have; missing may only be what `make` makes. Raises a Failure."""
        secret = self.wanted(claim, storage_class)
        if secret is not None:
            self._check(secret, may_miss=bool(secret.owner))
        return secret

    def make(self, secret: Reference | None) -> None:
        """Makes the one that is for one volume alone, unless it is there. The volume must be: it is
        what tells of it after a crash. Raises a Failure."""
        if secret is not None and secret.owner and not self._create(secret):
            self._check(secret)

    def _check(self, secret: Reference, may_miss: bool = False) -> None:
        there = self._read(secret)
        if there is None:
            if may_miss:
                return
            raise protocol.NotFound(f"{secret} does not exist; create it, of type {secret.driver}")
        if secret.owner:
            foreign = not is_of(there, {**secret.owner, decide.IDENTITY: self._us.name})
        else:  # or a claim's owner could name the one of another's volume
            foreign = _OWNER[0] in decide.annotations_of(there)
        if foreign:
            raise protocol.InvalidArgument(
                f"{secret} is there, but not for this claim; see its annotations"
            )
        if there["type"] != secret.driver:
            raise protocol.InvalidArgument(
                f"{secret} is of type {protocol.shown(there['type'])}, and kubelet demands "
                f"type {secret.driver}, the "
                "driver's name; create it again with that type"
            )

    def remove(self, secret: Reference | None) -> None:
        """Takes away what was made for one volume. Gone is fine; what its owner's record does not
        fit stays. Raises a Failure."""
        there = self._read(secret) if secret is not None and secret.owner else None
        if secret is not None and there is not None and is_of(there, secret.owner):
            with _refusal_explained(secret):
                self._api.delete(_path(secret), there["metadata"]["uid"])

    def _create(self, secret: Reference) -> bool:
        """False if there is one already."""
        value = options.Secret(base64.urlsafe_b64encode(os.urandom(_KEY_BYTES)))
        metadata = {
            "name": secret.name,
            "annotations": {**secret.owner, decide.IDENTITY: self._us.name},
        }
        body: Object = {"metadata": metadata, "type": secret.driver, "immutable": True}
        try:
            with _refusal_explained(secret):
                self._api.create(
                    _collection(secret),
                    {**body, "stringData": {_KEY: value.reveal().decode()}},
                )
        except cluster.Refused as error:
            if error.status != 409:
                raise
            return False
        return True

    def _read(self, secret: Reference) -> Object | None:
        """Its type and metadata; its values are dropped at once."""
        with _refusal_explained(secret):
            there = self._api.get(_path(secret))
        return there and {"metadata": there["metadata"], "type": there.get("type", "")}


def hand_over(api: cluster.Cluster, secret: Reference | None, identity: str) -> None:
    """What was made for one volume is another instance's from now on, which has the volume."""
    there = api.get(_path(secret)) if secret is not None and secret.owner else None
    if secret is not None and there is not None and is_of(there, secret.owner):
        api.patch(_path(secret), {"metadata": {"annotations": {decide.IDENTITY: identity}}})


def _path(secret: Reference) -> str:
    return cluster.path_to(_collection(secret), secret.name)


def _collection(secret: Reference) -> str:
    return cluster.in_namespace(secret.namespace, "secrets")


@contextlib.contextmanager
def _refusal_explained(secret: Reference) -> Iterator[None]:
    try:
        yield
    except cluster.Refused as error:
        if error.status == 403:
            raise protocol.InvalidArgument(
                f"{secret}: apply {RIGHTS}, which gives the right to use secrets; for another "
                "namespace than its own, "
                f"see the README ({error})"
            ) from None
        if error.status == 404:
            raise protocol.NotFound(f"{secret}: {error}") from None
        raise
