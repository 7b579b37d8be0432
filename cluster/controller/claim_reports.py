"""The reports of the work on a claim: events for its owner, metrics and the log for the
administrator."""

from __future__ import annotations

import logging

from cluster.controller import decide, metrics
from cluster.controller.events import Events
from cluster.controller.objects import Claim
from cluster.controller.storage_classes import StorageClasses
from cluster.controller.waiting_claims import WaitingClaims

_ANNOUNCED = "Provisioning"
_log = logging.getLogger("claim")


class ClaimReports:
    """All methods may be called by any thread."""

    def __init__(self, events: Events, claims: WaitingClaims, classes: StorageClasses) -> None:
        self._events = events
        self._claims = claims
        self._classes = classes

    def announced(self, claim: Claim) -> None:
        """Work on the claim begins. A claim has one such event, however often the driver is called
        for a long copy."""
        if self._claims.announces(claim.uid, _ANNOUNCED):
            self._events.normal(
                claim.json,
                _ANNOUNCED,
                f'External provisioner is provisioning volume for claim "{claim.full_name}"',
            )

    def left_to_populator(self, claim: Claim) -> None:
        """One event for each claim, although the populator may change the claim often."""
        if self._claims.announces(claim.uid, decide.POPULATOR):
            self._events.normal(claim.json, _ANNOUNCED, decide.POPULATOR)

    def provisioned(self, claim: Claim, name: str, driver: str, seconds: float) -> None:
        """The claim has its PV.

        name: of the PV. seconds: how long this attempt took."""
        self._events.normal(
            claim.json, "ProvisioningSucceeded", f"Successfully provisioned volume {name}"
        )
        labels = (claim.class_name, _source(claim))
        metrics.provisioned.labels(*labels).inc()
        metrics.provision_seconds.labels(*labels).observe(seconds)
        about = {"volume": name, "claim": claim.full_name, "driver": driver}
        _log.info("provisioned %s for %s", name, claim.full_name, extra=about)

    def not_provisioned(self, claim: Claim, sentence: str) -> None:
        """An attempt has failed; the sentence says why."""
        self.warned(claim, sentence)
        about = {"claim": claim.full_name}
        _log.warning("%s not provisioned: %s", claim.full_name, sentence, extra=about)

    def warned(self, claim: Claim, sentence: str) -> None:
        """As not_provisioned, where another part logs the error."""
        # Anybody may write any name of a class: only those that exist are labels.
        exists = self._classes.get(claim.class_name) is not None
        class_label = claim.class_name if exists else ""
        metrics.provision_failed.labels(class_label, _source(claim)).inc()
        self._events.warning(
            claim.json,
            "ProvisioningFailed",
            f'failed to provision volume with StorageClass "{claim.class_name}": {sentence}',
        )


def _source(claim: Claim) -> str:
    return metrics.source(claim.data_source.get("kind", ""))
