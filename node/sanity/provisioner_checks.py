"""Checks of the four calls of the provisioner."""

import os

from node.host import namespaces
from node.sanity import kills, written
from node.sanity.check import (
    ADVICE,
    BREAKS,
    DATA_LOSS,
    PROVISION,
    SECURITY,
    After,
    Fault,
    NotAsked,
    Topic,
    Words,
)
from node.sanity.doubtful import HUGE_BYTES
from node.sanity.filling import Filling
from node.sanity.life import VOLUME_BYTES, finish_all, mounts_at, size_of
from shared import options as keys
from shared import schemas
from shared.options import Options
from shared.protocol import FAILURES, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

    from node.sanity.life import Life
    from node.sanity.runner import Call

TOPIC = Topic()
# Larger than a number of 32 bits, and cut to these as large as VOLUME_BYTES.
_OVER_32_BITS = (1 << 32) + VOLUME_BYTES
# A volume that takes so much has no limit near the size that was asked for.
_UNLIMITED_BYTES = 2 * VOLUME_BYTES
_MADE = "flexvol-sanity-made"
_CANARY = "/tmp/flexvol-sanity-canary"
_UP = "../../../../../../../.."
# Names that anybody who may write a PV may give to a volume, to be made or deleted.
_HOSTILE = (
    _UP + "{}",
    ".",
    "..",
    "*",
    "-rf",
    "x; rm -rf {} ",
    "$(rm -rf {})",
    "`rm -rf {}`",
    "a b",
    "x\ny",
)


@TOPIC.check(
    "provision",
    BREAKS,
    Words(
        "provision succeeds",
        "the claim stays Pending, with the event ProvisioningFailed",
        "The volume of 64 MiB that was asked for, with the parameters that were given to this "
        "program.",
    ),
    needs=(PROVISION, "init"),
)
def provision(life: "Life") -> None:
    life.begin()
    life.expect_success(life.provision(life.volume()))


@TOPIC.check(
    "provision-reply",
    BREAKS,
    Words(
        "provision answers with the options, the size and the file system of the PV",
        "the claim stays Pending: the driver's reply cannot be read",
        "volume has options, an object of texts; capacityBytes, a whole number; and fsType, a "
        "text, which may be empty.",
    ),
    needs=("provision",),
)
def provision_reply(life: "Life") -> None:
    life.begin()
    call = life.provision(life.volume())
    life.must(call)
    wrong = schemas.errors("provision.reply", call.document())
    if wrong:
        raise Fault("provision: {}".format(wrong[0]))


@TOPIC.check(
    "provision-size",
    BREAKS,
    Words(
        "a volume is as large as asked, or provision fails",
        "a claim is bound to a volume that is smaller than the claim",
        "Also a size that no disk has must be answered: by a failure, or by a volume that has it. "
        "requestBytes, requestMiB and requestGiB are the same size in three units, rounded up.",
    ),
    needs=("provision-reply",),
)
def provision_size(life: "Life") -> None:
    life.begin()
    for size_bytes in (1, VOLUME_BYTES - 1, VOLUME_BYTES, _OVER_32_BITS, HUGE_BYTES):
        call = life.provision(life.new_name(), size_bytes)
        life.must_be_in_form(call)
        if not call.succeeded:
            continue
        volume = life.must(call).volume
        capacity = size_bytes if volume is None else volume["capacityBytes"]
        if capacity < size_bytes:
            raise Fault("asked for {} bytes: {}".format(size_bytes, call.told()))
    if not life.request.attach:
        _expect_room(life, 2 * VOLUME_BYTES)


def _expect_room(life: "Life", size_bytes: int) -> None:
    """A fault if a volume that is mounted has less than half of what was asked for. The file
    system itself takes a part."""
    name = life.new_name()
    call = life.provision(name, size_bytes)
    path = life.pod(volume=name)
    if not call.succeeded or not life.mount(path, _mount_options(life, name, call)).succeeded:
        return
    if mounts_at(path) and 2 * size_of(path) < size_bytes:
        words = "asked for {} bytes: the file system has {}"
        raise Fault(words.format(size_bytes, size_of(path)))


def _mount_options(life: "Life", name: str, provisioned: "Call") -> "Dict[str, str]":
    """The options of a mount of a volume that was made by that call."""
    options = life.mount_options("pod-" + name)
    options.update(_options_of(provisioned))
    volume = provisioned.reply.volume if provisioned.reply is not None else None
    options[keys.FS_TYPE] = (volume or {}).get("fsType", "")
    options[keys.VOLUME] = name
    return options


@TOPIC.check(
    "provision-twice",
    BREAKS,
    Words(
        "provision can be repeated, and finds the same volume",
        "a claim has two volumes, or stays Pending after a restart of the provisioner",
        "The provisioner repeats provision until it has seen the answer.",
    ),
    needs=("provision-reply",),
)
def provision_twice(life: "Life") -> None:
    life.begin()
    first = life.provision(life.volume())
    life.must(first)
    call = life.provision(life.volume())
    if not call.succeeded:
        raise Fault("for the second time: {}".format(call.told()))
    if _options_of(first) != _options_of(call):
        raise Fault("for the second time the PV gets other options: {}".format(call.told()))


@TOPIC.check(
    "provision-again-keeps-data",
    DATA_LOSS,
    Words(
        "provision of a volume that is in use keeps its data",
        "the volume is empty after a restart of the provisioner",
        "A provision that is repeated late finds the volume with data in it.",
    ),
    needs=("provision-twice", "data-kept"),
)
def provision_again_keeps_data(life: "Life") -> None:
    life.begin()
    _write_kept(life)
    life.provision(life.volume())
    _expect_kept(life, "a second provision")


@TOPIC.check(
    "provisions-at-once",
    BREAKS,
    Words(
        "provision may run twice at once",
        "a claim has half a volume",
        "Two provisioners may believe for a moment that they are the one that works, and one makes "
        "several volumes at once. A record of all volumes that is read and written without a lock "
        "loses one of them.",
    ),
    needs=("provision-twice", After("mounted")),
)
def provisions_at_once(life: "Life") -> None:
    life.begin()
    name = life.volume()
    with life.runner.at_once():
        running = [life.start_provision(name) for _ in range(3)]
    for call in finish_all(running):
        life.must_be_in_form(call)
    after = life.provision(name)
    if not after.succeeded:
        raise Fault("after three provisions at once: {}".format(after.told()))
    life.must_mount(life.pod())
    if not life.request.attach:
        _provision_others_at_once(life)


def _provision_others_at_once(life: "Life") -> None:
    """Provisions different volumes at once. A fault if one that was made cannot be mounted."""
    names = [life.new_name() for _ in range(4)]
    with life.runner.at_once():
        running = [life.start_provision(name) for name in names]
    for name, call in zip(names, finish_all(running)):
        life.must_be_in_form(call)
        if not call.succeeded:
            continue
        mounted = life.mount(life.pod(volume=name), _mount_options(life, name, call))
        if not mounted.succeeded:
            raise Fault("of four volumes that were made at once: {}".format(mounted.told()))


@TOPIC.check(
    "provision-hostile-name",
    SECURITY,
    Words(
        "provision makes nothing outside of the driver's storage",
        "whoever may write a claim or a PV makes files anywhere on the node",
        "A name with .. or a slash in it is a path. Refuse all but a to z, 0 to 9, '-' and '.'.",
    ),
    needs=("provision",),
)
def provision_hostile_name(life: "Life") -> None:
    life.begin()
    for name in (_UP + "/tmp/" + _MADE, "../" + _MADE, "$(touch /tmp/{})".format(_MADE)):
        call = life.provision(name)
        if call.status is None:
            raise Fault("a volume called {}: {}".format(shown(name), call.told()))
        for path in written.paths(life.inside, directories=True):
            if os.path.basename(path) == _MADE:
                raise Fault("a volume called {} made {}".format(shown(name), path))


@TOPIC.check(
    "delete",
    BREAKS,
    Words(
        "delete succeeds",
        "the PV stays Failed, and its storage is never free again",
        "The delete of a volume that provision made and no pod uses.",
    ),
    needs=("provision-reply",),
)
def delete(life: "Life") -> None:
    life.begin()
    options = life.provisioned(life.volume())
    life.expect_success(life.delete(life.volume(), options))


@TOPIC.check(
    "provision-killed",
    BREAKS,
    Words(
        "a provision that was killed can be repeated, and undone",
        "the claim stays Pending for ever, or a volume stays that nobody has",
        "A restart of the provisioner kills the driver at any line.",
    ),
    traps=(18,),
    needs=("provision-twice", "delete"),
)
def provision_killed(life: "Life") -> None:
    life.begin()
    whole = life.start_provision(life.new_name(), around=kills.traced()).finish()
    life.must(whole)
    for kill in kills.of(whole):
        name = life.new_name()
        kill.end(life.start_provision(name, around=kills.traced()))
        again = life.provision(name)
        if not again.succeeded:
            raise Fault("after a provision that {}: {}".format(kill.told(), again.told()))
        other = life.new_name()
        kill.end(life.start_provision(other, around=kills.traced()))
        _expect_deleted(life, name, again, kill)
        found = life.provision(other, also={keys.ONLY_FIND: "true"})
        if found.succeeded:
            _expect_deleted(life, other, found, kill)


@TOPIC.check(
    "delete-twice",
    BREAKS,
    Words(
        "delete of a volume that is gone succeeds",
        "the PV stays Failed, though its storage is gone",
        "The provisioner repeats delete until it has seen the answer, and deletes what a provision "
        "that failed may have made.",
    ),
    needs=("delete",),
)
def delete_twice(life: "Life") -> None:
    life.begin()
    options = life.provisioned(life.volume())
    life.must(life.delete(life.volume(), options))
    for name in (life.volume(), life.new_name()):
        call = life.delete(name, options)
        if not call.succeeded:
            raise Fault("of a volume that is not there: {}".format(call.told()))


@TOPIC.check(
    "delete-killed",
    BREAKS,
    Words(
        "a delete that was killed can be repeated",
        "the PV stays Failed, and half of its volume stays",
        "A restart of the provisioner kills the driver at any line.",
    ),
    traps=(18,),
    needs=("delete-twice",),
)
def delete_killed(life: "Life") -> None:
    life.begin()
    name = life.new_name()
    whole = life.start_delete(name, life.provisioned(name), kills.traced()).finish()
    life.must(whole)
    for kill in kills.of(whole):
        name = life.new_name()
        options = life.provisioned(name)
        kill.end(life.start_delete(name, options, kills.traced()))
        again = life.delete(name, options)
        if not again.succeeded:
            raise Fault("after a delete that {}: {}".format(kill.told(), again.told()))


@TOPIC.check(
    "deletes-at-once",
    BREAKS,
    Words(
        "delete may run twice at once",
        "the PV stays Failed, and half of its volume stays",
        "Two provisioners may believe for a moment that they are the one that works.",
    ),
    needs=("delete-twice",),
)
def deletes_at_once(life: "Life") -> None:
    life.begin()
    name = life.volume()
    options = life.provisioned(name)
    with life.runner.at_once():
        running = [life.start_delete(name, options) for _ in range(3)]
    for call in finish_all(running):
        life.must_be_in_form(call)
    after = life.delete(name, options)
    if not after.succeeded:
        raise Fault("after three deletes at once: {}".format(after.told()))


@TOPIC.check(
    "delete-other-stays",
    DATA_LOSS,
    Words(
        "delete of one volume leaves the others alone",
        "the data of another claim is gone",
        "A pattern such as pvc-1* finds pvc-10, too.",
    ),
    needs=("delete", "data-kept"),
)
def delete_other_stays(life: "Life") -> None:
    life.begin()
    _write_kept(life)
    shorter = life.volume()[:-1]
    options = life.provisioned(shorter)
    life.must(life.delete(shorter, options))
    _expect_kept(life, "the delete of another volume")


@TOPIC.check(
    "delete-empty-name",
    DATA_LOSS,
    Words(
        "delete without a name deletes nothing",
        "all volumes of the node are gone",
        "A path that is put together of the storage's directory and an empty name is the storage's "
        "directory.",
    ),
    needs=("delete", "data-kept"),
)
def delete_empty_name(life: "Life") -> None:
    life.begin()
    _write_kept(life)
    life.delete("", life.pv_options())
    _expect_kept(life, "the delete of a volume without a name")


@TOPIC.check(
    "delete-hostile-name",
    DATA_LOSS,
    Words(
        "delete touches nothing outside of the volume, whatever its name",
        "whoever may write a PV deletes files anywhere on the node",
        "A PV is an object that a user may have written: its name and its options are input.",
    ),
    needs=("delete", "data-kept"),
)
def delete_hostile_name(life: "Life") -> None:
    life.begin()
    _write_kept(life)
    os.mkdir(_CANARY)
    for form in _HOSTILE:
        name = form.format(_CANARY)
        call = life.delete(name, life.pv_options())
        if call.status is None:
            raise Fault("a volume called {}: {}".format(shown(name), call.told()))
        if not os.path.isdir(_CANARY):
            raise Fault("a volume called {}: delete removed {}".format(shown(name), _CANARY))
    _expect_kept(life, "the delete of volumes with hostile names")
    life.clear(life.pod("pod-kept"))
    options = life.provisioned(life.new_name())
    for given in (life.pv_options(), *_hostile_options(options)):
        # The volume's own name, so that the driver comes to the options.
        name = life.new_name()
        life.provision(name)
        life.delete(name, given)
        if not os.path.isdir(_CANARY):
            raise Fault("a PV with the options {}: delete removed {}".format(given, _CANARY))
    _expect_kept(life, "the delete of another volume, whose PV has the options of this one,")


def _hostile_options(options: "Dict[str, str]") -> "List[Dict[str, str]]":
    """The options with each of them, in turn, made a path that leads out of the storage."""
    climbing = _UP + _CANARY
    changed = []
    for key, value in options.items():
        changed += [dict(options, **{key: text}) for text in (climbing, value + "/" + climbing)]
    return changed


@TOPIC.check(
    "delete-frees",
    BREAKS,
    Words(
        "a name that was deleted can be used again, and is empty",
        "a new volume has the data of a deleted one",
        "Data that a delete leaves behind is found by the next volume of the name.",
    ),
    needs=("delete", "unmounted"),
)
def delete_frees(life: "Life") -> None:
    life.begin()
    _write_kept(life)
    life.leave_device()
    life.must(life.delete(life.volume(), life.pv_options()))
    life.forget()
    path = life.pod("pod-again")
    call = life.mount(path)
    life.must(call)
    if os.path.exists(os.path.join(path, "kept")):
        raise Fault("a new volume has a file of the deleted one of its name")


@TOPIC.check(
    "list",
    BREAKS,
    Words(
        "list has the volumes that are there, with their names",
        "inventories and the search for orphans miss the volume, or show one that is gone",
        "volumes is a list of objects with a name; pools, if the driver has any, is one too.",
    ),
    needs=("delete",),
)
def list_(life: "Life") -> None:
    life.begin()
    options = life.provisioned(life.volume())
    names = _listed(life)
    if life.volume() not in names:
        raise Fault("list does not have the volume {}".format(life.volume()))
    life.must(life.delete(life.volume(), options))
    if life.volume() in _listed(life):
        raise Fault("list still has the volume {} after delete".format(life.volume()))


@TOPIC.check(
    "adopt",
    BREAKS,
    Words(
        "adopt can be repeated",
        "a volume that exists cannot be given to a claim",
        "adopt makes another claim the owner of a volume, and is repeated until its answer is "
        "seen.",
    ),
    needs=("provision-reply",),
)
def adopt(life: "Life") -> None:
    life.begin()
    words = _words_to_adopt(life)
    for time_word in ("first", "second"):
        call = life.runner.run("adopt", words)
        if call.is_unsupported:
            raise NotAsked("the driver has no adopt")
        if not call.succeeded:
            raise Fault("for the {} time: {}".format(time_word, call.told()))


@TOPIC.check(
    "adopt-killed",
    BREAKS,
    Words(
        "an adopt that was killed can be repeated",
        "a volume has half an owner, and no claim can have it",
        "A restart of the provisioner kills the driver at any line.",
    ),
    traps=(18,),
    needs=("adopt",),
)
def adopt_killed(life: "Life") -> None:
    life.begin()
    words = _words_to_adopt(life)
    whole = life.runner.run("adopt", words, kills.traced())
    life.must(whole)
    for number, kill in enumerate(kills.of(whole)):
        words = _words_to_adopt(life, number)
        kill.end(life.runner.start("adopt", words, kills.traced()))
        again = life.runner.run("adopt", words)
        if not again.succeeded:
            raise Fault("after an adopt that {}: {}".format(kill.told(), again.told()))


@TOPIC.check(
    "adopt-nothing",
    BREAKS,
    Words(
        "adopt of a volume that is not there fails",
        "a claim is bound to a volume that does not exist",
        "adopt gives a volume that exists to a claim; it makes nothing.",
    ),
    needs=("adopt",),
)
def adopt_nothing(life: "Life") -> None:
    life.begin()
    given = life.claim_options(life.new_name())
    call = life.runner.run("adopt", [Options(given).text()])
    if call.succeeded:
        raise Fault("of a volume that is not there: {}".format(call.told()))


@TOPIC.check(
    "only-find",
    ADVICE,
    Words(
        "provision with kubernetes.io/onlyFind makes nothing",
        "nothing but work: a volume is made to be deleted at once",
        "The key is given if the claim went while its volume was made. A volume that is not there "
        "is NotFound.",
    ),
    needs=("provision",),
)
def only_find(life: "Life") -> None:
    life.begin()
    call = life.provision(life.new_name(), also={keys.ONLY_FIND: "true"})
    if call.succeeded:
        raise Fault("of a volume that is not there: {}".format(call.told()))


@TOPIC.check(
    "only-if-blank",
    DATA_LOSS,
    Words(
        "delete with kubernetes.io/onlyIfBlank keeps a volume with data",
        "a volume that lost its PV is deleted with its data",
        "The provisioner deletes orphans that list calls blank; a pod may have written to one in "
        "the meantime.",
    ),
    needs=("list", "data-kept"),
)
def only_if_blank(life: "Life") -> None:
    life.begin()
    life.device_options()  # makes the volume
    entries = [entry for entry in _entries(life) if entry.get("name") == life.volume()]
    if not any("blank" in entry for entry in entries):
        raise NotAsked("list does not say which volumes are blank")
    _write_kept(life)
    given = dict(life.pv_options())
    given[keys.ONLY_IF_BLANK] = "true"
    life.delete(life.volume(), given)
    _expect_kept(life, "a delete that was for a blank volume only")


@TOPIC.check(
    "reason-words",
    ADVICE,
    Words(
        "the reason of a failure is one of the contract's",
        "the provisioner retries at the wrong moment, or on the wrong node",
        "docs/your-own-driver.md has the reasons. Any other word counts as Internal.",
    ),
    needs=("provision",),
)
def reason_words(life: "Life") -> None:
    life.begin()
    calls = [life.provision(""), life.provision(life.new_name(), HUGE_BYTES)]
    failed = [call for call in calls if call.is_proper_failure]
    if not failed:
        raise NotAsked("no provision failed")
    for call in failed:
        reason = (call.document() or {}).get("reason")
        if reason is not None and reason not in FAILURES:
            raise Fault(call.told())


@TOPIC.check(
    "expandfs-grows",
    BREAKS,
    Words(
        "expandfs makes a volume larger",
        "the claim shows its new size, and the pod has no more room than before",
        "Kubernetes writes the new size into PV and claim whatever the driver did. A driver may "
        "fail while pods run, and grow the volume when the next pod starts.",
    ),
    traps=(14,),
    needs=("provision-reply", "unmounted", After("expandfs-of-own-device")),
)
def expandfs_grows(life: "Life") -> None:
    life.begin()
    path = life.pod()
    life.must_mount(path)
    before = size_of(path)
    # A quota, such as that of a btrfs subvolume, is not seen in the size of the file system.
    has_hidden_limit = before > 2 * VOLUME_BYTES
    filling = Filling(os.path.join(path, "filling"))
    if has_hidden_limit and filling.reaches(_UNLIMITED_BYTES):
        raise NotAsked("the volume takes more than was asked: the driver sets no limit")
    call = life.expand(path, 4 * VOLUME_BYTES, VOLUME_BYTES)
    if call.is_unsupported and life.has_block_device:
        raise NotAsked("the driver has no expandfs: kubelet grows the device")
    if call.is_unsupported:
        raise Fault("expandfs is not supported, and kubelet has no device to grow")
    if not call.succeeded:
        life.must_unmount(path)
        life.leave_device()
        life.must_mount(path)
        call = life.expand(path, 4 * VOLUME_BYTES, VOLUME_BYTES)
    if not call.succeeded and not namespaces.may_grow():
        raise NotAsked("here nobody has CAP_SYS_RESOURCE, which growing takes")
    if not call.succeeded:
        raise Fault(call.told())
    if has_hidden_limit:
        if not filling.reaches(_UNLIMITED_BYTES):
            raise Fault(
                "expandfs answered Success, and the volume takes no more than {} bytes".format(
                    filling.taken_bytes
                )
            )
    elif size_of(path) <= 2 * before:
        raise Fault("expandfs answered Success, and the volume has {} bytes".format(size_of(path)))


def _options_of(call: "Call") -> "Dict[str, str]":
    """The options of the PV that a provision answered."""
    volume = call.reply.volume if call.reply is not None else None
    options: "Dict[str, str]" = (volume or {}).get("options", {})
    return options


def _words_to_adopt(life: "Life", number: int = 0) -> "List[str]":
    """The arguments with which the volume gets another owner. number: tells owners apart."""
    given = dict(life.pv_options())
    given.update(life.claim_options(life.volume()))
    given[keys.CLAIM_UID] = "11111111-2222-4333-8444-{:012}".format(number)
    return [Options(given).text()]


def _expect_deleted(life: "Life", name: str, provisioned: "Call", kill: kills.Kill) -> None:
    call = life.delete(name, _options_of(provisioned))
    if not call.succeeded:
        raise Fault("after a provision that {}: {}".format(kill.told(), call.told()))


def _entries(life: "Life") -> "List[Dict[str, Any]]":
    call = life.runner.run("list", [])
    if call.is_unsupported:
        raise NotAsked("the driver has no list")
    if not call.succeeded:
        raise Fault(call.told())
    wrong = schemas.errors("list.reply", call.document())
    if wrong:
        raise Fault("list: {}".format(wrong[0]))
    return life.must(call).volumes or []


def _listed(life: "Life") -> "List[str]":
    return [entry["name"] for entry in _entries(life)]


def _write_kept(life: "Life") -> None:
    """Writes a file into the volume, which is unmounted again."""
    path = life.pod("pod-kept")
    life.must_mount(path)
    life.write(os.path.join(path, "kept"), "data")
    life.must_unmount(path)


def _expect_kept(life: "Life", after: str) -> None:
    """A fault unless the file is still in the volume."""
    path = life.pod("pod-kept")
    call = life.mount(path)
    if not call.succeeded:
        raise Fault("after {}: {}".format(after, call.told()))
    if not os.path.exists(os.path.join(path, "kept")):
        raise Fault("after {} the data of a volume is gone".format(after))
