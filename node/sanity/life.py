"""The steps of a volume's life, made as Kubernetes makes them, for the checks to be made of.

A step that every check takes for granted, such as the mount before an unmount, ends the check as
"not judged" if it fails; one check of its own names that failure."""

import base64
import contextlib
import json
import os
import stat
import time
import uuid

from node.host import loopdev, mount_table, namespaces
from node.sanity import sandbox
from node.sanity.check import Fault, NotAsked, NotJudged
from node.sanity.runner import Call, Runner, Running, Surroundings
from shared import options as keys
from shared.options import Options
from shared.protocol import Capabilities, Reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Sequence, Set, Tuple, TypeVar

    _Left = TypeVar("_Left")

KUBELET = "/var/lib/kubelet"
NODE = "sanity-node"
NAMESPACE = "sanity"
_CLUSTER_UID = "00000000-1111-4222-8333-444444444444"
_MIB = 1 << 20
_GIB = 1 << 30
VOLUME_BYTES = 64 * _MIB
_END_SECONDS = 15
_LOOK_SECONDS = 0.1
# What json.Marshal of Go escapes, so that no browser takes a text for HTML.
_GO_ESCAPES = (
    ("<", "\\u003c"),
    (">", "\\u003e"),
    ("&", "\\u0026"),
    ("\u2028", "\\u2028"),
    ("\u2029", "\\u2029"),
)


class Request:
    """What a person asks to be judged: see the command's arguments.

    options: of the PV, or the class's parameters with `provision`. secrets: of the Secret that the
    PV names. variables: what kubelet's service sets for the driver. setup: a shell command that is
    run in each root before the driver."""

    def __init__(self) -> None:
        self.options: "Dict[str, str]" = {}
        self.secrets: "Dict[str, bytes]" = {}
        self.variables: "Dict[str, str]" = {}
        self.attach = False
        self.provision = False
        self.setup = ""
        self.call_seconds = 60.0


class SetupFailed(Exception):
    """The shell command for the setup failed, so nothing can be judged."""


class Life:
    """A driver in its root. runner: makes calls. capabilities: what init stated."""

    def __init__(self, inside: "sandbox.Inside", request: Request) -> None:
        self.inside = inside
        self.request = request
        self.runner = Runner(inside.executable, request.call_seconds)
        self.runner.variables = request.variables
        self.capabilities: "Dict[str, Any]" = {}
        self._pv_options: "Optional[Dict[str, str]]" = None
        self._fs_type = ""
        self._device: "Optional[str]" = None
        self._names = 0
        self._first_mounts = mounted_paths()
        self._loop_devices_of_setup: "List[Tuple[str, Optional[str]]]" = []

    # Before anything else.

    def begin(self) -> Call:
        """Calls init, as each process of Kubernetes does first."""
        call = self.runner.run("init", [])
        for key, value in (call.document() or {}).items():
            if key.lower() == "capabilities" and isinstance(value, dict):
                self.capabilities = {capability(name): given for name, given in value.items()}
        return call

    def whole(self) -> "List[Call]":
        """The calls that Kubernetes makes of a volume to which nothing happens, from init to the
        last one, as far as the driver gets."""
        self.begin()
        with contextlib.suppress(NotJudged):
            path = self.pod()
            self.mount(path)
            if mounts_at(path) and self.capabilities.get("requiresFSResize") is not False:
                size_bytes = self.claimed_bytes(path)
                self.expand(path, size_bytes, size_bytes)
            self.clear(path)
            self.leave_device()
            if self.request.provision:
                self.delete(self.volume(), self.pv_options())
        return self.runner.calls

    def set_up(self) -> None:
        """Runs the person's shell command. Raises SetupFailed."""
        if not self.request.setup:
            return
        shell = Runner("/bin/sh", self.runner.seconds)
        around = Surroundings()
        around.environment["DRIVER"] = self.inside.executable
        around.directory = "/"
        call = shell.run("-c", [self.request.setup], around)
        self.runner.keep()
        if call.status != 0:
            raise SetupFailed(
                "the setup failed, in a root where /tmp, /run and /var are empty: {}".format(
                    call.told()
                )
            )
        self._loop_devices_of_setup = self._loop_devices()

    # Paths and options.

    def pod(self, pod: str = "pod-1", volume: str = "") -> str:
        """The directory of a pod for the volume, made as kubelet makes it.

        volume: the name of the directory; by default the volume's."""
        name = volume or self.volume()
        driver = "~".join(self.inside.settings.driver_name())
        path = os.path.join(KUBELET, "pods", pod, "volumes", driver, name)
        os.makedirs(path, 0o750, exist_ok=True)
        return path

    def global_directory(self) -> str:
        """Where kubelet has a device mounted once for all pods."""
        vendor, driver = self.inside.settings.driver_name()
        below = "plugins/kubernetes.io/flexvolume"
        return os.path.join(KUBELET, below, vendor, driver, "mounts", self.volume())

    def volume(self) -> str:
        """The PV's name."""
        return self.request.options.get(keys.VOLUME, "pvc-5a6ad8b3-1111-4222-8333-944445555666")

    def new_name(self) -> str:
        """The name of a PV that no step has used yet."""
        self._names += 1
        return "pvc-{}".format(uuid.UUID(int=self._names))

    def device_options(self) -> "Dict[str, str]":
        """The options that all calls with options get."""
        pv_options = self.pv_options()
        options = {keys.FS_TYPE: self._fs_type, keys.READ_WRITE: "rw", keys.VOLUME: self.volume()}
        options.update(pv_options)
        return options

    def mount_options(self, pod: str = "pod-1", read_only: bool = False) -> "Dict[str, str]":
        """The options of a mount."""
        options = self.device_options()
        options[keys.READ_WRITE] = "ro" if read_only else "rw"
        options[keys.POD_NAMESPACE] = NAMESPACE
        options[keys.POD_NAME] = pod
        options[keys.POD_UID] = pod
        options[keys.SERVICE_ACCOUNT] = "default"
        options.update(secret_options(self.request.secrets))
        return options

    def options_of_another(self, name: str) -> "Dict[str, str]":
        """The options of a mount of another volume, which is made before if provision makes
        volumes. Raises NotAsked for a driver that attaches, whose steps are for one volume."""
        if self.request.attach:
            raise NotAsked("with --attach one volume is judged at a time")
        options = self.mount_options("pod-2")
        if self.request.provision:
            options.update(self.provisioned(name))
        options[keys.VOLUME] = name
        return options

    def pv_options(self) -> "Dict[str, str]":
        """The options of the PV: those that provision returned, or the person's."""
        if not self.request.provision:
            return self.request.options
        if self._pv_options is None:
            volume = self._made(self.volume())
            self._pv_options = _options_of(volume)
            self._fs_type = volume.get("fsType", "")
        return self._pv_options

    # The provisioner.

    def claim_options(self, name: str) -> "Dict[str, str]":
        """The options that tell a volume and its claim."""
        return {
            keys.VOLUME: name,
            keys.CLAIM_NAMESPACE: NAMESPACE,
            keys.CLAIM_NAME: "data",
            keys.CLAIM_UID: str(uuid.uuid5(uuid.NAMESPACE_DNS, name)),
        }

    def provision(
        self,
        name: str,
        size_bytes: int = VOLUME_BYTES,
        also: "Optional[Dict[str, str]]" = None,
    ) -> Call:
        """Makes a volume for a claim. also: further options."""
        return self.start_provision(name, size_bytes, also).finish()

    def start_provision(
        self,
        name: str,
        size_bytes: int = VOLUME_BYTES,
        also: "Optional[Dict[str, str]]" = None,
        around: "Optional[Surroundings]" = None,
    ) -> Running:
        """As provision, without waiting for the end."""
        options = {
            keys.FS_TYPE: "",
            keys.REQUEST_BYTES: str(size_bytes),
            keys.REQUEST_MIB: str(-(-size_bytes // _MIB)),
            keys.REQUEST_GIB: str(-(-size_bytes // _GIB)),
            keys.ACCESS_MODES: "ReadWriteOnce",
            keys.CLASS_NAME: "sanity",
            keys.RECLAIM_POLICY: "Delete",
            keys.MOUNT_OPTIONS: "",
            keys.NODE_NAME: NODE,
            keys.CLUSTER_UID: _CLUSTER_UID,
        }
        options.update(self.claim_options(name))
        for key, value in self.request.options.items():
            if key != keys.VOLUME:
                options[key] = value
        options.update(also or {})
        return self.runner.start("provision", [Options(options).text()], around)

    def forget(self) -> None:
        """The volume is deleted: the next step that needs a volume makes one."""
        self._pv_options = None

    def provisioned(self, name: str) -> "Dict[str, str]":
        """Makes a volume, which must succeed; returns the options of its PV."""
        return _options_of(self._made(name))

    def _made(self, name: str) -> "Dict[str, Any]":
        """Makes a volume, which must succeed; returns what the driver tells of the PV."""
        return self.must(self.provision(name)).volume or {}

    def delete(self, name: str, options: "Optional[Dict[str, str]]" = None) -> Call:
        """Deletes a volume. options: of its PV."""
        return self.start_delete(name, options).finish()

    def start_delete(
        self,
        name: str,
        options: "Optional[Dict[str, str]]" = None,
        around: "Optional[Surroundings]" = None,
    ) -> Running:
        """As delete, without waiting for the end."""
        given = dict(options or {})
        given.update(self.claim_options(name))
        return self.runner.start("delete", [Options(given).text()], around)

    # kubelet and kube-controller-manager.

    def mount(
        self,
        path: str,
        options: "Optional[Dict[str, str]]" = None,
        around: "Optional[Surroundings]" = None,
    ) -> Call:
        """Mounts the volume for a pod, after the device if the driver attaches."""
        call = self.start_mount(path, options, around).finish()
        if call.is_unsupported and self.request.attach:
            namespaces.bind(self.global_directory(), path)
            call.done_by_kubelet = True
        return call

    def start_mount(
        self,
        path: str,
        options: "Optional[Dict[str, str]]" = None,
        around: "Optional[Surroundings]" = None,
    ) -> Running:
        """As mount, without waiting for the end."""
        if options is None:
            options = self.mount_options()
        # As kubelet does; the driver's unmount may have removed it.
        os.makedirs(path, 0o750, exist_ok=True)
        self.reach_device()
        return self.runner.start("mount", [path, go_json(options)], around)

    def must_mount(self, path: str, options: "Optional[Dict[str, str]]" = None) -> None:
        """Mounts the volume for a pod, which must succeed."""
        self.must(self.mount(path, options))
        self.must_be_mounted(path)

    def must_answer_in_form(self) -> None:
        """Raises NotJudged if the answer of the mount that the person asked for is not in the form
        of the contract, which is another check's to name, whether the mount succeeds or not."""
        path = self.pod("pod-in-form")
        self.must_be_in_form(self.mount(path))
        self.clear(path)

    def must_mount_at_all(self) -> None:
        """Raises NotJudged unless the volume can be mounted as the person asked. For checks that
        find a part of the faults where no mount succeeds."""
        path = self.pod("pod-at-all")
        self.must_mount(path)
        self.clear(path)

    def clear(self, path: str) -> None:
        """Unmounts a pod's directory, and takes away what a driver's unmount leaves mounted."""
        self.unmount(path)
        take_away(path)

    def unmount(self, path: str, around: "Optional[Surroundings]" = None) -> Call:
        """Unmounts a pod's directory."""
        return self.unless_unsupported(self.runner.run("unmount", [path], around), path)

    def must_unmount(self, path: str) -> None:
        """Unmounts a pod's directory, which must succeed."""
        self.must(self.unmount(path))
        if mounts_at(path):
            raise NotJudged("unmount left {} mounted".format(path))

    @property
    def device(self) -> str:
        """The device that attach and waitforattach answered; "" if there is none."""
        return self._device or ""

    @property
    def has_block_device(self) -> bool:
        """Whether kubelet has a block device, which it grows where expandfs is not supported. A
        device that is not on this machine may be one."""
        if not self.device:
            return False
        return not os.path.exists(self.device) or is_block_device(self.device)

    def claimed_bytes(self, path: str) -> int:
        """The size that the claim of the volume has, which is mounted at the path. The size of the
        file system is another one if the volume has a quota on a disk that it shares, or no
        limit."""
        size_bytes = size_of(path)
        if self.request.provision and size_bytes > 2 * VOLUME_BYTES:
            return VOLUME_BYTES
        return size_bytes

    def expand(self, path: str, new_bytes: int, old_bytes: int) -> Call:
        """Grows the volume that is mounted at a pod's directory."""
        return self.start_expand(path, new_bytes, old_bytes).finish()

    def start_expand(
        self,
        path: str,
        new_bytes: int,
        old_bytes: int,
        around: "Optional[Surroundings]" = None,
    ) -> Running:
        """As expand, without waiting for the end."""
        text = go_json(self.device_options())
        words = [text, self.device, path, str(new_bytes), str(old_bytes)]
        return self.runner.start("expandfs", words, around)

    def reach_device(self) -> None:
        """With --attach: makes the calls that come before the first mount of a volume on a node,
        which must succeed."""
        stated = self.capabilities.get("attach")
        if stated is True and not self.request.attach:
            raise NotJudged("init states attach: true; give --attach")
        if stated is False and self.request.attach:
            raise NotJudged("init states attach: false; leave --attach away")
        if not self.request.attach or self._device is not None:
            return
        call = self.mount_device()
        if call.is_unsupported and self._device:
            raise NotJudged("mountdevice is not supported, so kubelet formats the device itself")
        if not call.is_unsupported:
            self.must(call)

    def mount_device(
        self,
        options: "Optional[Dict[str, str]]" = None,
        around: "Optional[Surroundings]" = None,
    ) -> Call:
        """Mounts the device at its directory, after attach and waitforattach, which must
        succeed."""
        return self.start_mount_device(options, around).finish()

    def start_mount_device(
        self,
        options: "Optional[Dict[str, str]]" = None,
        around: "Optional[Surroundings]" = None,
    ) -> Running:
        """As mount_device, without waiting for the end."""
        text = go_json(self.device_options())
        if self._device is None:
            device = self.device_of(self.runner.run("attach", [text, NODE]), "")
            self._device = self.device_of(self.runner.run("waitforattach", [device, text]), device)
            if device and not self._device:
                raise NotJudged("waitforattach answered no device; see waitforattach")
        path = self.global_directory()
        os.makedirs(path, 0o750, exist_ok=True)
        given = text if options is None else go_json(options)
        return self.runner.start("mountdevice", [path, self.device, given], around)

    def unmount_device(self, around: "Optional[Surroundings]" = None) -> Call:
        """Unmounts the device's directory."""
        path = self.global_directory()
        return self.unless_unsupported(self.runner.run("unmountdevice", [path], around), path)

    def unless_unsupported(self, call: Call, unmounted: str = "") -> Call:
        """The call, which kubelet takes for a success if the driver does not have it.

        unmounted: the directory that kubelet then unmounts itself"""
        if call.is_unsupported:
            if unmounted:
                take_away(unmounted)
            call.done_by_kubelet = True
        return call

    def mounts(self) -> "List[mount_table.Mount]":
        """All mounts of the root."""
        return list(mount_table.table())

    def leave_device(self) -> None:
        """With --attach: makes the calls that come after the last unmount of a volume on a node,
        which must succeed."""
        if self._device is None:
            return
        path = self.global_directory()
        if mounts_at(path):
            self.must(self.unmount_device())
        self.must(self.unless_unsupported(self.runner.run("detach", [self.volume(), NODE])))
        self._device = None

    def device_of(self, call: Call, otherwise: str) -> str:
        """The device that attach or waitforattach, which must succeed, replies with.

        otherwise: the device if the driver has no such call"""
        if call.is_unsupported:
            return otherwise
        return self.must(call).device or ""

    # What is left.

    def processes_left(self) -> "List[str]":
        """The command lines of the driver's processes that do not end in a while."""
        return _after_a_while(self.runner.left)

    def files_left(self, new: "Sequence[Set[str]]") -> "List[str]":
        """The files of the last call, if each call has left some that do not go in a while: a
        server may tidy up a little later. new: what each call left."""

        def left() -> "List[List[str]]":
            files = [sorted(filter(os.path.lexists, of_call)) for of_call in new]
            return files if all(files) else []

        files = _after_a_while(left)
        return files[-1] if files else []

    def loop_devices(self) -> "List[str]":
        """The loop devices that the driver has, without those that the setup has attached."""
        of_setup = self._loop_devices_of_setup
        return [device for device, file in self._loop_devices() if (device, file) not in of_setup]

    def _loop_devices(self) -> "List[Tuple[str, Optional[str]]]":
        """All loop devices of the root, if it has any, and the paths of their files."""
        if not self.inside.settings.loop_devices:
            return []
        devices = sandbox.own_loop_devices(self.inside.places)
        return [(device, loopdev.backing_path(device)) for device in devices]

    def loop_devices_left(self, before: "Sequence[str]" = ()) -> "List[str]":
        """The loop devices of the driver that are not given back in a while.

        before: those that it had before, and may keep"""
        return _after_a_while(
            lambda: [device for device in self.loop_devices() if device not in before]
        )

    def take_all_away(self) -> None:
        """Unmounts all that was mounted since the beginning, wherever, and detaches all loop
        devices, as the end of the node does."""
        new = self._new_mounts()
        while new:
            # Others may go with it: those below, and those of its peers.
            namespaces.unmount(new[-1])
            new = self._new_mounts()
        for device, _ in self._loop_devices():
            loop = loopdev.open_existing(device)
            if loop is not None:
                with loop:
                    if loop.backing() is not None:  # a last mount may have taken the file away
                        loop.detach()

    def _new_mounts(self) -> "List[str]":
        """Where something was mounted since the beginning."""
        return [path for path, root in mounted_paths() if (path, root) not in self._first_mounts]

    # What lies in a volume.

    def write(self, path: str, text: str) -> None:
        """Writes a file. Raises NotAsked if the volume takes none."""
        try:
            with open(path, "w") as file:
                file.write(text)
        except OSError as error:
            raise NotAsked("the volume takes no files: {}".format(error.strerror)) from None

    def wrote(self, path: str) -> bool:
        """Whether a file can be written there, which some volumes do not take."""
        try:
            self.write(path, "data")
        except NotAsked:
            return False
        return True

    # What every check takes for granted.

    def must(self, call: Call) -> "Reply":
        """The reply of a call. Raises NotJudged if the call failed."""
        if not call.succeeded:
            raise NotJudged(call.told())
        return call.reply or Reply()

    def expect_success(self, call: Call, when: str = "") -> None:
        """For the check of that very call. Raises Fault if the call did not end, or failed;
        NotJudged if its answer is not in the form of the contract, which other checks name.

        when: for a person, what stands before the call in the message"""
        if call.status is not None:
            self.must_be_in_form(call)
        if not call.succeeded:
            raise Fault(when + call.told())

    def must_be_in_form(self, call: Call) -> None:
        """Raises NotJudged if the answer is not in the form of the contract."""
        if not call.is_in_form:
            raise NotJudged(call.told())

    def must_be_mounted(self, path: str) -> None:
        """Raises NotJudged if nothing is mounted there."""
        if not mounts_at(path):
            raise NotJudged("mount answered Success, but mounted nothing")


def _options_of(volume: "Dict[str, Any]") -> "Dict[str, str]":
    """The options of the PV. volume: of the reply of provision."""
    options = volume.get("options", {})
    if not isinstance(options, dict):
        raise NotJudged("provision answered with options that are no object")
    return options


def _after_a_while(left: "Callable[[], List[_Left]]") -> "List[_Left]":
    """What `left` returns: a daemon ends, and a loop device goes, a little after the last user."""
    deadline = time.monotonic() + _END_SECONDS
    found = left()
    while found and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
        found = left()
    return found


def finish_all(running: "Sequence[Running]") -> "List[Call]":
    """Waits for the end of all of these calls, which run at once."""
    open_calls = list(running)
    while open_calls:
        open_calls = [each for each in open_calls if not each.step()]
    return [each.call for each in running]


def secret_options(secrets: "Dict[str, bytes]") -> "Dict[str, str]":
    """The options in which kubelet hands over a Secret."""
    return {
        "kubernetes.io/secret/" + key: base64.b64encode(value).decode("ascii")
        for key, value in secrets.items()
    }


def capability(name: str) -> str:
    """The capability that kubelet finds under that name, in whatever case."""
    known = {each.lower(): each for each in Capabilities.NAMES}
    return known.get(name.lower(), name)


def go_json(options: "Dict[str, str]") -> str:
    """The options as json.Marshal of Go writes them: sorted, without blanks, with its escapes."""
    text = json.dumps(options, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for character, escape in _GO_ESCAPES:
        text = text.replace(character, escape)
    return text


def is_block_device(path: str) -> bool:
    """Whether a block device is at the path."""
    return os.path.exists(path) and stat.S_ISBLK(os.stat(path).st_mode)


def size_of(path: str) -> int:
    """How many bytes the file system at the path has."""
    disk = os.statvfs(path)
    return disk.f_blocks * disk.f_frsize


def mounts_at(path: str) -> "List[mount_table.Mount]":
    """The mounts at the path, the topmost last."""
    return [mount for mount in mount_table.table() if mount.path == path]


def mounted_paths() -> "List[Tuple[str, str]]":
    """Where something is mounted, and what, in the order of the mounts."""
    return [(mount.path, mount.root) for mount in mount_table.table()]


def take_away(path: str) -> None:
    """Unmounts the path as a person would, until nothing is mounted there."""
    while mounts_at(path):
        namespaces.unmount(path)
