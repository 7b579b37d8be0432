"""What every driver is: one class with a method for each row of protocol.CALLOUTS.

A driver of your own is a file with a subclass, given to `build.sh build --driver FILE`. A method
returns a Reply or raises one of protocol's failures; flexvol.py parses the arguments, prints the
answer and writes the log."""

from shared.protocol import Capabilities, NotSupported, Reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict

    from node.operations import Operations
    from shared.options import Options


class Driver:
    """Answers NotSupported to every callout but init, which reports `capabilities`.

    The arguments of each method are those of CALLOUTS, by name. Every callout may be repeated, run
    twice at once,
    or be killed at any line: it must converge when it is called again.
    """

    EXAMPLE: "Dict[str, str]" = {}  # options of a PV, for the help

    # Nothing is attached by the controller-manager, so the driver is needed on the nodes only.
    # requiresFSResize must
    # be true for a claim to grow at all: the controller-manager takes it for true, whatever the
    # driver says.
    capabilities = Capabilities(
        attach=False, selinuxRelabel=True, supportsMetrics=True, fsGroup=True, requiresFSResize=True
    )

    def init(self) -> Reply:
        return Reply(capabilities=self.capabilities)

    def getvolumename(self, options: "Options") -> Reply:
        """Best left alone: whatever it answers kubelet takes the PV's name, but a failure stops all
        it does with the volume."""
        raise NotSupported("getvolumename")

    def attach(self, options: "Options", node: str) -> Reply:
        """Makes the volume reachable from `node`, by its Kubernetes name; replies with its device.
        This, isattached and detach run where kube-controller-manager does, unless kubelet's
        enableControllerAttachDetach is false."""
        raise NotSupported("attach")

    def waitforattach(self, device: str, options: "Options") -> Reply:
        """Waits on the node for `device`, for each pod; must reply with it, or kubelet forgets it.
        `device` is "" if kubelet attached it and was restarted since."""
        raise NotSupported("waitforattach")

    def isattached(self, options: "Options", node: str) -> Reply:
        """Must reply attached=True if it is, or the controller-manager attaches it again."""
        raise NotSupported("isattached")

    def detach(self, volume: str, node: str) -> Reply:
        """Undoes attach, also one that failed or never was; gets the PV's name only. Another node
        attaches after it, so it raises Busy while `node` can still write: a node that does not
        answer may be alive."""
        raise NotSupported("detach")

    def mountdevice(self, device_dir: str, device: str, options: "Options") -> Reply:
        """Mounts the device once per node; must leave `device_dir`, which exists, a mount point, or
        nothing behind."""
        raise NotSupported("mountdevice")

    def unmountdevice(self, device_dir: str) -> Reply:
        """Undoes mountdevice after the node's last pod; gets the path only, and the device must not
        be in use then."""
        raise NotSupported("unmountdevice")

    def mount(self, mount_dir: str, options: "Options") -> Reply:
        """Makes `mount_dir`, which exists, a mount point of the volume, or leaves nothing behind:
        kubelet takes a mount point there for success and calls neither mount nor unmount again. An
        attaching driver binds what mountdevice mounted; kubelet does not say where, but
        tests/drivers/attaching.py shows how to know."""
        raise NotSupported("mount")

    def unmount(self, mount_dir: str) -> Reply:
        """Gets the path only, also if it is no mount point any more."""
        raise NotSupported("unmount")

    def expandvolume(
        self, options: "Options", device_dir: str, new_bytes: int, old_bytes: int
    ) -> Reply:
        """Kubernetes never calls it: the volume itself grows in expandfs too."""
        raise NotSupported("expandvolume")

    def expandfs(
        self, options: "Options", device: str, mount_dir: str, new_bytes: int, old_bytes: int
    ) -> Reply:
        """Grows the volume mounted at the pod's directory to `new_bytes` or more; called for each
        pod. `device` is "" unless the driver attaches."""
        raise NotSupported("expandfs")

    def provision(self, options: "Options") -> Reply:
        """Creates the volume options.volume of at least options.request_bytes, or finds it; replies
        with `volume`. If options.source_volume is not "" it is a copy of that; a long one raises
        Pending, to be called again. With only_find it makes nothing: it finds the volume, or a copy
        that is half made, or raises NotFound."""
        raise NotSupported("provision")

    def delete(self, options: "Options") -> Reply:
        """Deletes the volume; one that is provably gone is a success."""
        raise NotSupported("delete")

    def list(self) -> Reply:
        """Replies with `volumes` and `pools`."""
        raise NotSupported("list")

    def adopt(self, options: "Options") -> Reply:
        """Makes options.claim the owner of a volume that exists, which is not blank any more, and
        records options.cluster_uid if it is given. With only_if_awaited it refuses a volume that
        does not await that claim; with only_if_owner, one that is of yet another claim by now."""
        raise NotSupported("adopt")

    # The only method that is no callout.

    def operations(self) -> "Operations":
        """What the commands of this program, such as `flexvol status`, ask of the driver; by
        default nothing."""
        from node.operations import Operations  # late: no callout needs it

        return Operations()
