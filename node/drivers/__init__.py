"""The door for authors of drivers: what a driver is, and what most drivers need.

A driver of your own is a file with a subclass of Driver, given to `build.sh build --driver FILE`.
The file imports from here, and what it needs of the machine from node.host (mounts, files, loopdev,
filesystems). A method returns a Reply or raises a failure; node/callouts.py parses the arguments,
prints the answer and writes the log."""

from shared.options import Claim, Options, Pod, Secret
from shared.process import run
from shared.protocol import (
    Busy,
    Capabilities,
    Failure,
    Internal,
    InvalidArgument,
    NotFound,
    NotSupported,
    Pending,
    Reply,
    ResourceExhausted,
    Unavailable,
    check_name,
    shown,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict

    from node.operations import Operations

__all__ = (
    "Busy",
    "Capabilities",
    "Claim",
    "Driver",
    "Failure",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "NotSupported",
    "Options",
    "Pending",
    "Pod",
    "Reply",
    "ResourceExhausted",
    "Secret",
    "Unavailable",
    "check_name",
    "run",
    "shown",
)


class Driver:
    """Answers NotSupported to every callout but init, which reports `capabilities`.

    The arguments of each method are those of CALLOUTS in shared/protocol.py, by name. kubelet may
    repeat every callout, run the same callout twice at once, and kill a callout at any line; when a
    callout is called again, its work must get done.
    """

    # The driver's own options of a PV, for the help.
    EXAMPLE: "Dict[str, str]" = {}

    # Whether the volumes lie on the nodes. False, for volumes on a server: `flexvol uninstall` then
    # takes the driver from each node on which no pod has a volume mounted, whatever the server has.
    VOLUMES_ON_NODES = True

    # attach is false: kube-controller-manager attaches nothing, so only the nodes need the driver.
    # requiresFSResize must be true for a claim to grow at all: kube-controller-manager takes it for
    # true, whatever the driver says.
    capabilities = Capabilities(
        attach=False, selinuxRelabel=True, supportsMetrics=True, fsGroup=True, requiresFSResize=True
    )

    def init(self) -> Reply:
        """Reports what the driver can do. kubelet and kube-controller-manager ask once and remember
        the answer."""
        return Reply(capabilities=self.capabilities)

    def getvolumename(self, options: Options) -> Reply:
        """Names the volume. Best left alone: kubelet takes the PV's name whatever the answer is,
        but a failure here stops everything that kubelet does with the volume."""
        raise NotSupported("getvolumename")

    def attach(self, options: Options, node: str) -> Reply:
        """Makes the volume reachable from `node`, by its Kubernetes name; replies with its device.

        attach, isattached and detach run where kube-controller-manager runs, unless kubelet's
        enableControllerAttachDetach is false."""
        raise NotSupported("attach")

    def waitforattach(self, device: str, options: Options) -> Reply:
        """Waits on the node for `device`, before each pod's mount; must reply with the device, or
        kubelet forgets it.

        device: "" if kubelet attached the device and was restarted since."""
        raise NotSupported("waitforattach")

    def isattached(self, options: Options, node: str) -> Reply:
        """Must reply attached=True if the volume is attached to `node`, or kube-controller-manager
        attaches the volume again."""
        raise NotSupported("isattached")

    def detach(self, volume: str, node: str) -> Reply:
        """Undoes attach, also an attach that failed or never was; gets the PV's name only.

        Another node attaches the volume afterwards, so detach raises Busy while `node` can still
        write: a node that does not answer may be alive."""
        raise NotSupported("detach")

    def mountdevice(self, device_dir: str, device: str, options: Options) -> Reply:
        """Mounts the device once per node. Must leave `device_dir`, which exists, a mount point, or
        nothing behind."""
        raise NotSupported("mountdevice")

    def unmountdevice(self, device_dir: str) -> Reply:
        """Undoes mountdevice after the node's last pod; gets the path only. The device must not be
        in use afterwards."""
        raise NotSupported("unmountdevice")

    def mount(self, mount_dir: str, options: Options) -> Reply:
        """Makes `mount_dir`, which exists, a mount point of the volume, or leaves nothing behind:
        kubelet takes a mount point there for success and calls neither mount nor unmount again.

        An attaching driver binds what mountdevice mounted; kubelet does not say where, but
        tests/drivers/attaching.py shows how to know."""
        raise NotSupported("mount")

    def unmount(self, mount_dir: str) -> Reply:
        """Undoes mount; gets the path only, also of a directory that is no mount point any more."""
        raise NotSupported("unmount")

    def expandvolume(
        self, options: Options, device_dir: str, new_bytes: int, old_bytes: int
    ) -> Reply:
        """Kubernetes never calls this callout: expandfs grows the volume too."""
        raise NotSupported("expandvolume")

    def expandfs(
        self, options: Options, device: str, mount_dir: str, new_bytes: int, old_bytes: int
    ) -> Reply:
        """Grows the volume mounted at the pod's directory to `new_bytes` or more; called for each
        pod.

        device: "" unless the driver attaches."""
        raise NotSupported("expandfs")

    def provision(self, options: Options) -> Reply:
        """Creates the volume options.volume of at least options.request_bytes, or finds the volume
        if an earlier call made it; replies with `volume`.

        If options.source_volume is not "", the volume is a copy of that one; a long copy raises
        Pending, to be called again. With options.only_find nothing is made: provision finds the
        volume, or a copy that is half made, or raises NotFound."""
        raise NotSupported("provision")

    def delete(self, options: Options) -> Reply:
        """Deletes the volume. A volume that is provably gone is a success."""
        raise NotSupported("delete")

    def list(self) -> Reply:
        """Replies with `volumes` and `pools`."""
        raise NotSupported("list")

    def adopt(self, options: Options) -> Reply:
        """Makes options.claim the owner of a volume that exists, and records options.cluster_uid if
        that is given. The volume is not blank any more.

        With options.only_if_awaited adopt refuses a volume that does not await that claim; with
        options.only_if_owner, a volume that belongs to yet another claim by now."""
        raise NotSupported("adopt")

    # The only method that is no callout.

    def operations(self) -> "Operations":
        """What the commands of this program, such as `flexvol status`, ask of the driver; by
        default nothing."""
        from node.operations import Operations  # late: no callout needs it

        return Operations()
