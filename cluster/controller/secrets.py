"""A volume's Secret: which one its class means, whether kubelet will take it, and the Secrets made
for one volume each.

kubelet reads the Secret that a PV names, at every mount, and hands it to the driver. The
provisioner only looks at the type and the owner of a Secret: a value is made here once and
otherwise not held."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cluster.controller import cluster, volume_manifest
from cluster.controller.class_parameters import SECRET_PARAMETERS
from cluster.controller.identity import Identity
from cluster.controller.objects import (
    IDENTITY,
    ApiObject,
    Claim,
    Object,
    StorageClass,
    Volume,
    table,
    text,
)
from shared import options, protocol

_RIGHTS = "deploy/secrets"
_NAME, _NAMESPACE, _CREATE = SECRET_PARAMETERS
_FALSE = "false"
_TRUE = "true"
# What a Secret that is made has: one key, with this many random bytes.
_KEY = "key"
_KEY_BYTES = 32
_HASH_DIGITS = 8
# Stands in the name of a made Secret between the volume and the instance that makes the Secret.
_OF = "-key."
_ANY_ANNOTATION = "pvc.annotations['KEY']"
# The annotations of a Secret that was made: which volume and which claim it was made for.
_OF_VOLUME = "flexvol/volume"
_OF_NAMESPACE = "flexvol/claim-namespace"
_OF_CLAIM = "flexvol/claim-name"
_OF_CLAIM_UID = "flexvol/claim-uid"
_WORD = re.compile(r"\$\{(.*?)\}")
_FORBIDDEN = 403
_NOT_FOUND = 404
_CONFLICT = 409


@dataclass(frozen=True)
class _Form:
    """What a name must be: a DNS label or subdomain (apimachinery, pkg/util/validation)."""

    pattern: re.Pattern[str]
    length: int

    def fits(self, name: str) -> bool:
        """Whether the name is of this form."""
        return len(name) <= self.length and self.pattern.fullmatch(name) is not None


_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAMESPACE_FORM = _Form(re.compile(_LABEL), 63)
_NAME_FORM = _Form(re.compile(rf"{_LABEL}(\.{_LABEL})*"), 253)


@dataclass(frozen=True)
class Reference:
    """A Secret that a PV names.

    driver: the type that kubelet demands of the Secret.
    owner: the annotations of a Secret that is made for this volume alone; empty for one that is
        only referred to."""

    namespace: str
    name: str
    driver: str
    owner: dict[str, str]

    def __str__(self) -> str:
        return f"secret {self.namespace}/{self.name}"

    @property
    def names(self) -> tuple[str, str]:
        """Namespace and name, as a PV has them."""
        return (self.namespace, self.name)

    @property
    def is_made(self) -> bool:
        """Whether the Secret is made for this volume alone."""
        return bool(self.owner)

    @property
    def collection(self) -> str:
        """The path of all Secrets of the namespace."""
        return cluster.in_namespace(self.namespace, "secrets")

    @property
    def path(self) -> str:
        """The path of the Secret."""
        return cluster.path_to(self.collection, self.name)


def wanted(
    claim: Claim, storage_class: StorageClass, identity: Identity, namespace: str
) -> Reference | None:
    """The Secret that the class means for the claim; None if the class means none. The claim's
    owner steers the name; of the namespace only his own.

    namespace: of a Secret that is to be made, if the class does not say.
    :raises InvalidArgument: if no claim can be served with the parameters of the class, or this one
        cannot."""
    parameters = storage_class.parameters
    create = parameters.get(_CREATE, _FALSE)
    if create not in (_TRUE, _FALSE):
        raise _wrong(
            f'{_CREATE} is {protocol.shown(create)}; it is "true" or "false"', storage_class
        )
    driver = identity.drivers[storage_class.provisioner]
    if create == _TRUE:
        if _NAME in parameters:
            raise _wrong(
                f"{_CREATE} makes a secret with the volume's name; remove {_NAME}, or it",
                storage_class,
            )
        template = parameters.get(_NAMESPACE, namespace)
        return _made(claim, template, driver, identity.name)
    given = [key for key in (_NAME, _NAMESPACE) if key in parameters]
    if not given:
        return None
    if len(given) == 1:
        raise _wrong(
            f"{given[0]} stands alone; give both {_NAME} and {_NAMESPACE}",
            storage_class,
        )
    return _referred_to(claim, parameters[_NAME], parameters[_NAMESPACE], driver)


def _made(claim: Claim, namespace: str, driver: str, instance: str) -> Reference:
    """A Secret that the instance makes. namespace: as a template."""
    volume = _volume_of(claim)
    owner = {
        _OF_VOLUME: volume,
        _OF_NAMESPACE: claim.namespace,
        _OF_CLAIM: claim.name,
        _OF_CLAIM_UID: claim.uid,
    }
    filled = _filled_namespace(namespace, claim)
    return Reference(filled, made_name(volume, instance), driver, owner)


def _referred_to(claim: Claim, name: str, namespace: str, driver: str) -> Reference:
    """A Secret that is there. name, namespace: as templates."""
    values = {"pvc.name": claim.name, **_namespace_values(claim)}
    for key, value in claim.annotations.items():
        values[_ANY_ANNOTATION.replace("KEY", key)] = value
    named = ["pvc.name", *_namespace_values(claim), _ANY_ANNOTATION]
    filled_namespace = _filled_namespace(namespace, claim)
    filled_name = _filled(_Template(_NAME, name, _NAME_FORM), values, named)
    return Reference(filled_namespace, filled_name, driver, {})


def _filled_namespace(template: str, claim: Claim) -> str:
    values = _namespace_values(claim)
    return _filled(_Template(_NAMESPACE, template, _NAMESPACE_FORM), values, list(values))


def _namespace_values(claim: Claim) -> dict[str, str]:
    """What a namespace may have in it: nothing by which a claim's owner reaches another's."""
    return {"pvc.namespace": claim.namespace, "pv.name": _volume_of(claim)}


def _volume_of(claim: Claim) -> str:
    return volume_manifest.volume_name(claim)


@dataclass(frozen=True)
class _Template:
    """A parameter of a class with words in it, as ${pvc.name}. form: of what it must become."""

    parameter: str
    text: str
    form: _Form


def _filled(template: _Template, values: Mapping[str, str], known: list[str]) -> str:
    """Replaces each word once: what a claim says is never itself a template.

    values: by word. known: the words that an error lists."""

    def replaced(word: re.Match[str]) -> str:
        if word[1] in values:
            return values[word[1]]
        words = ", ".join(f"${{{name}}}" for name in known)
        raise protocol.InvalidArgument(
            f"{template.parameter} has {protocol.shown(word[0])}, for which there is no value; "
            f"known are {words}"
        )

    result = _WORD.sub(replaced, template.text)
    if not template.form.fits(result):
        raise protocol.InvalidArgument(
            f"{template.parameter} {protocol.shown(template.text)} becomes "
            f"{protocol.shown(result)}, which is not a DNS name"
        )
    return result


def _wrong(sentence: str, storage_class: StorageClass) -> protocol.InvalidArgument:
    """For parameters of a class that no claim can be served with."""
    advice = options.class_advice(storage_class.name)
    return protocol.InvalidArgument(f"{sentence}; {advice}")


def made_name(volume: str, instance: str) -> str:
    """The name of the Secret that the instance makes for the volume. A claim may go on to another
    node, whose instance may not touch this one's.

    A node's instance has the node's name, and deploy/secrets/policy.yaml lets a node make no Secret
    but under its own: else one node could make the Secret first that another is going to make."""
    if _NAME_FORM.pattern.fullmatch(instance):
        return f"{volume}{_OF}{instance}"
    digest = hashlib.sha256(instance.encode()).hexdigest()
    return f"{volume}-{digest[:_HASH_DIGITS]}"


def made_for(volume: Volume) -> Reference | None:
    """The Secret that may have been made for this PV. A PV can say what it likes: what the Secret
    says counts, and that is for which volume it was made. The claim that the volume was made for
    does not count: the PV may be bound to another one by now (see owners.py)."""
    secret = table(volume.flex_volume.get("secretRef"))
    namespace = text(secret.get("namespace"))
    name = text(secret.get("name"))
    if not _can_be_made(name, volume.name):
        return None
    if not _NAMESPACE_FORM.pattern.fullmatch(namespace):
        return None
    return Reference(namespace, name, volume.driver, {_OF_VOLUME: volume.name})


def _can_be_made(secret: str, volume: str) -> bool:
    """Whether made_name can have made that name of that volume's. An older flexvol put a hash
    behind the name for nodes too."""
    before, _, instance = secret.partition(_OF)
    if before == volume and _NAME_FORM.pattern.fullmatch(instance):
        return True
    without_hash = secret[: -_HASH_DIGITS - 1]
    return without_hash == volume


def is_of(secret: Object, owner: Mapping[str, str]) -> bool:
    """Whether the Secret has these annotations."""
    annotations = ApiObject(secret).annotations
    return all(annotations.get(key) == value for key, value in owner.items())


class Secrets:
    """Looks for Secrets, makes them and takes them away. All methods may be called by any
    thread."""

    def __init__(self, api: cluster.Cluster, identity: Identity, namespace: str) -> None:
        """namespace: our own. Secrets are made in one beside it where nothing else is, because who
        may make Secrets in a namespace can get the token of each of its service accounts."""
        self._api = api
        self._identity = identity
        self._namespace = namespace + "-secrets"

    def wanted(self, claim: Claim, storage_class: StorageClass) -> Reference | None:
        """As the function of that name."""
        return wanted(claim, storage_class, self._identity, self._namespace)

    def checked(self, claim: Claim, storage_class: StorageClass) -> Reference | None:
        """The Secret for the claim's PV. If the Secret exists, kubelet will take it, and this claim
        may have it; only a Secret that `make` makes may be missing.

        :raises NotFound: if the Secret is missing.
        :raises InvalidArgument: if the Secret is another's or of another type, or we may not see
            it."""
        secret = self.wanted(claim, storage_class)
        if secret is not None:
            self._check(secret, may_miss=secret.is_made)
        return secret

    def make(self, secret: Reference | None) -> None:
        """Makes the Secret if it is for one volume alone, unless it exists. The volume must exist:
        after a crash nothing else tells of the Secret. Raises as `checked`."""
        if secret is None or not secret.is_made:
            return
        if not self._create(secret):
            self._check(secret, may_miss=False)

    def _check(self, secret: Reference, may_miss: bool) -> None:
        existing = self._read(secret)
        if existing is None:
            if may_miss:
                return
            raise protocol.NotFound(f"{secret} does not exist; create it, of type {secret.driver}")
        if self._is_foreign(secret, existing):
            raise protocol.InvalidArgument(
                f"{secret} is there, but not for this claim; see its annotations"
            )
        if existing["type"] != secret.driver:
            raise protocol.InvalidArgument(
                f"{secret} is of type {protocol.shown(existing['type'])}, and kubelet demands "
                f"type {secret.driver}, the driver's name; create it again with that type"
            )

    def _is_foreign(self, secret: Reference, existing: Object) -> bool:
        if secret.is_made:
            return not is_of(existing, {**secret.owner, IDENTITY: self._identity.name})
        # Else a claim's owner could name the Secret of another's volume.
        return _OF_VOLUME in ApiObject(existing).annotations

    def remove(self, secret: Reference | None) -> None:
        """Takes away a Secret that was made for one volume. A Secret that is gone is fine; one
        whose annotations do not fit stays.

        :raises InvalidArgument: if we may not do that."""
        if secret is None or not secret.is_made:
            return
        existing = self._read(secret)
        if existing is None or not is_of(existing, secret.owner):
            return
        with _refusal_explained(secret):
            self._api.delete(secret.path, existing["metadata"]["uid"])

    def _create(self, secret: Reference) -> bool:
        """False if the Secret exists already."""
        value = options.Secret(base64.urlsafe_b64encode(os.urandom(_KEY_BYTES)))
        annotations = {**secret.owner, IDENTITY: self._identity.name}
        body = {
            "metadata": {"name": secret.name, "annotations": annotations},
            "type": secret.driver,
            "immutable": True,
            "stringData": {_KEY: value.reveal().decode()},
        }
        try:
            with _refusal_explained(secret):
                self._api.create(secret.collection, body)
        except cluster.Refused as error:
            if error.status != _CONFLICT:
                raise
            return False
        return True

    def _read(self, secret: Reference) -> Object | None:
        """The type and the metadata of the Secret; its values are dropped at once."""
        with _refusal_explained(secret):
            existing = self._api.get(secret.path)
        if existing is None:
            return None
        return {"metadata": existing["metadata"], "type": existing.get("type", "")}


def hand_over(api: cluster.Cluster, secret: Reference | None, identity: str) -> None:
    """What was made for one volume belongs from now on to another instance, which has the volume.

    identity: the name of that instance."""
    if secret is None or not secret.is_made:
        return
    existing = api.get(secret.path)
    if existing is not None and is_of(existing, secret.owner):
        api.patch(secret.path, {"metadata": {"annotations": {IDENTITY: identity}}})


@contextlib.contextmanager
def _refusal_explained(secret: Reference) -> Iterator[None]:
    try:
        yield
    except cluster.Refused as error:
        if error.status == _FORBIDDEN:
            raise protocol.InvalidArgument(
                f"{secret}: apply {_RIGHTS}, which gives the right to use secrets; for another "
                f"namespace than its own, see docs/security.md ({error})"
            ) from None
        if error.status == _NOT_FOUND:
            raise protocol.NotFound(f"{secret}: {error}") from None
        raise
