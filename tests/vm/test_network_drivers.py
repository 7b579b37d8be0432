"""examples/nfs.py and examples/cifs.py with the kernel's clients and real servers: a machine with
the new kernel serves both, and mounts from itself; the other machine has the old kernel."""

from __future__ import annotations

import base64
import json
import shlex
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.vm.machine import Job, Machine
from tests.vm.pair import EXPORTED, SERVER, Pair
from tests.vm.rights import confined
from tests.vm.servers import serve_cifs

SHARED = "/srv/cifs"
# Of every directory that is exported or shared. A percent sign and a colon are for Windows only.
SPECIAL = "Q3 reports, final #1 ü'$x"
PASSWORD = "c,o,,m m$a\"'\\ü€,"
SECRET = {"username": "web", "password": PASSWORD}
# How long a driver waits for a server in the tests of one that hangs; the real limits are longer.
LIMIT_SECONDS = 4
LONGEST_SECONDS = 180  # that any call may take here
# A margin for the emulated processor, which starts a Python in seconds.
MARGIN_SECONDS = 20
# The driver with other constants.
CHANGED = """
import sys
sys.path.insert(0, "/payload/nfs")
import flexvol
from node.host import mount_calls, network_mounts
{}
sys.exit(flexvol.main(sys.argv[1:]))
"""
# Of flexvol sanity, where not all are asked for: a check takes seconds here.
CHECK = "mount"
IMPATIENT = f"""
network_mounts.MOUNT_SECONDS = {LIMIT_SECONDS}
network_mounts._UNMOUNT_SECONDS = {LIMIT_SECONDS}
"""
# As a kernel before 5.2, which lacks the system call of that number.
WITHOUT_MOUNT_API = "mount_calls._FSOPEN = 9999"


class Client:
    """A node that mounts. changes: lines that change constants of the driver. prefix: the words
    before the driver."""

    def __init__(self, machine: Machine, changes: str = "", prefix: tuple[str, ...] = ()) -> None:
        self.machine = machine
        self._changes = changes
        self._prefix = prefix

    def changed(self, lines: str) -> Client:
        return Client(self.machine, lines)

    def call(self, driver: str, *words: str) -> dict[str, Any]:
        (reply,) = self.at_once((driver, *words))
        return reply

    def at_once(self, *calls: tuple[str, ...]) -> list[dict[str, Any]]:
        """Makes calls, each with the name of its driver, at the same time. Returns the replies."""
        jobs = [self._start(*call) for call in calls]
        replies = []
        for job in jobs:
            done = job.wait(LONGEST_SECONDS + 30)
            assert (done.returncode, done.stderr) == (0, b""), done
            replies.append(json.loads(done.stdout))
        return replies

    def _start(self, driver: str, *words: str) -> Job:
        line = [f"/payload/{driver}"]
        if self._changes:
            line = ["python3", "-I", "-S", "-c", CHANGED.format(self._changes), driver]
        argv = (*self._prefix, *line, *words)
        return self.machine.start(*argv, stream=False, seconds=LONGEST_SECONDS)

    def ok(self, driver: str, *words: str) -> dict[str, Any]:
        reply = self.call(driver, *words)
        assert reply["status"] == "Success", f"{reply}\n{self.kernel_log()}"
        return reply

    def fails(self, reason: str, driver: str, *words: str) -> str:
        """Returns the message of a call that must fail for the reason."""
        reply = self.call(driver, *words)
        assert reply.get("reason") == reason, f"{reply}\n{self.kernel_log()}"
        message: str = reply["message"]
        return message

    def pod_dir(self, driver: str, pod: str) -> str:
        path = f"/var/lib/kubelet/pods/{pod}/volumes/flexvol~{driver}/pv"
        self.machine.must("mkdir", "-p", "-m", "0750", path)
        return path

    def mount(self, driver: str, pod: str, options: str) -> str:
        """Mounts for a pod, and returns its directory."""
        path = self.pod_dir(driver, pod)
        self.ok(driver, "mount", path, options)
        assert self.mounts_at(path) == 1
        return path

    def unmount(self, driver: str, path: str) -> None:
        self.ok(driver, "unmount", path)
        assert self.mounts_at(path) == 0
        self.machine.must("rmdir", path)

    def mounts_at(self, path: str) -> int:
        return self.flags(path, any_number=True).count("\n")

    def flags(self, path: str, any_number: bool = False) -> str:
        """The lines of the mounts at the path in mountinfo."""
        lines = self.machine.must("cat", "/proc/self/mountinfo").splitlines()
        ours = [line for line in lines if line.split()[4] == path]
        assert any_number or len(ours) == 1, ours
        return "".join(f"{line}\n" for line in ours)

    def write(self, path: str, text: str) -> None:
        self.machine.shell(f"echo {shlex.quote(text)} > {shlex.quote(path)}")

    def read(self, path: str) -> str:
        return self.machine.must("cat", path).strip()

    def is_read_only(self, directory: str) -> bool:
        done = self.machine.run("touch", f"{directory}/new")
        return b"Read-only file system" in done.stderr

    def kernel_log(self) -> str:
        return self.machine.must("dmesg")[-2000:]


class Net:
    """Two nodes. new: also the server of both protocols, at SERVER."""

    def __init__(self, pair: Pair) -> None:
        self.new = Client(pair.server.machine)
        self.old = Client(pair.other.machine)


@pytest.fixture(scope="module")
def net(machines: Pair) -> Net:
    serve_cifs(machines.server.machine, SHARED, PASSWORD)
    return Net(machines)


@pytest.fixture(params=["old", "new"])
def client(request: pytest.FixtureRequest, net: Net) -> Client:
    chosen: Client = getattr(net, request.param)
    return chosen


def options(own: dict[str, str], access: str = "rw", secret: dict[str, str] | None = None) -> str:
    """What kubelet passes to mount. own: the options of the PV, or others of kubelet's own."""
    secrets = {
        f"kubernetes.io/secret/{key}": base64.b64encode(value.encode()).decode()
        for key, value in (secret or {}).items()
    }
    known = {
        "kubernetes.io/pvOrVolumeName": "pv",
        "kubernetes.io/fsType": "",
        "kubernetes.io/readwrite": access,
        "kubernetes.io/pod.namespace": "shop",
        "kubernetes.io/pod.name": "web",
        "kubernetes.io/pod.uid": "u1",
    }
    return json.dumps({**known, **secrets, **own}, ensure_ascii=False)


# CIFS.

OF_JULIOHM = {"server": SERVER, "share": "/data", "opts": "vers=3.1.1,dir_mode=0755"}
OF_FSTAB = {
    "networkPath": f"//{SERVER}/data/{SPECIAL}",
    "mountOptions": "dir_mode=0700,file_mode=0600,noperm",
}


@pytest.mark.in_ci_with(client="old")
def test_a_volume_of_juliohm_is_mounted_for_two_pods(client: Client, net: Net) -> None:
    with_group = {**OF_JULIOHM, "kubernetes.io/mounterArgs.FsGroup": "33"}
    web = client.mount("cifs", "web", options(with_group, secret=SECRET))
    client.ok("cifs", "mount", web, options(with_group, secret=SECRET))
    backup = client.mount("cifs", "backup", options(OF_JULIOHM, "ro", SECRET))

    client.write(f"{web}/file", "hello")

    assert client.read(f"{backup}/file") == "hello"
    assert net.new.read(f"{SHARED}/file") == "hello"
    assert client.is_read_only(backup)
    assert client.machine.must("stat", "-c", "%u:%g", f"{web}/file") == "33:33\n"
    assert "nosuid,nodev" in client.flags(web)
    client.unmount("cifs", web)
    assert client.read(f"{backup}/file") == "hello"
    client.unmount("cifs", backup)
    client.ok("cifs", "unmount", web)
    net.new.machine.must("rm", f"{SHARED}/file")


@pytest.mark.in_ci_with(client="old")
def test_a_volume_of_fstab_with_a_special_path_is_mounted(client: Client, net: Net) -> None:
    net.new.machine.must("mkdir", "-p", "-m", "777", f"{SHARED}/{SPECIAL}")

    path = client.mount("cifs", "web", options(OF_FSTAB, secret=SECRET))
    client.write(f"{path}/file", "hello")

    assert net.new.read(f"{SHARED}/{SPECIAL}/file") == "hello"
    assert client.machine.must("stat", "-c", "%a", f"{path}/file") == "600\n"
    client.unmount("cifs", path)
    net.new.machine.must("rm", "-r", f"{SHARED}/{SPECIAL}")


@pytest.mark.in_ci_with(client="old")
def test_a_wrong_password_is_refused_also_while_the_right_one_is_in_use(client: Client) -> None:
    web = client.mount("cifs", "web", options(OF_JULIOHM, secret=SECRET))
    evil = client.pod_dir("cifs", "evil")

    wrong = options(OF_JULIOHM, secret={"username": "web", "password": "guessed"})
    message = client.fails("InvalidArgument", "cifs", "mount", evil, wrong)

    assert "refuses this node or its user; see whom the server lets in" in message
    assert client.mounts_at(evil) == 0
    client.unmount("cifs", web)


@pytest.mark.in_ci_with(client="old")
def test_words_for_mount_cifs_are_none_that_a_kernel_refuses(client: Client) -> None:
    words = "workgroup=WORKGROUP,comment=note,uid=,gid=,cruid=,backupuid=,mand,nomand,nolock"
    words += ",nostrictatime,silent,loud,iversion,noiversion,users,user=,_netdev,nofail,x-a.b"
    words += ",fmask=0640,dmask=0750,snapshot=,pass=wrong,uid=root"

    path = client.mount("cifs", "web", options({**OF_JULIOHM, "opts": words}, secret=SECRET))

    flags = client.flags(path)
    for shown in ("domain=WORKGROUP", "file_mode=0640", "dir_mode=0750", "nobrl", "uid=0"):
        assert shown in flags
    client.unmount("cifs", path)


@pytest.mark.in_ci_with(client="old")
def test_a_share_for_guests_needs_no_secret(client: Client) -> None:
    own = {"networkPath": f"//{SERVER}/public", "mountOptions": "guest"}

    client.unmount("cifs", client.mount("cifs", "web", options(own)))


@pytest.mark.parametrize(
    ("own", "reason", "words"),
    [
        pytest.param({"share": "/missing"}, "NotFound", "is not there", id="no such share"),
        pytest.param({"share": "/data/no"}, "NotFound", "is not there", id="no such directory"),
        pytest.param({"opts": "port=446"}, "Unavailable", "cannot be reached", id="nobody listens"),
        pytest.param(
            {"opts": "sec=ntlm"}, "InvalidArgument", "these mount options", id="an option"
        ),
    ],
)
def test_what_cannot_be_mounted_is_told(
    net: Net, own: dict[str, str], reason: str, words: str
) -> None:
    path = net.new.pod_dir("cifs", "web")

    message = net.new.fails(
        reason, "cifs", "mount", path, options({**OF_JULIOHM, **own}, secret=SECRET)
    )

    assert words in message
    assert net.new.mounts_at(path) == 0


@pytest.mark.in_ci_with(client="old")
def test_nobody_sees_the_password(client: Client) -> None:
    """Neither the list of processes nor a file has it, while a mount is made and after."""
    machine = client.machine
    machine.must("mkdir", "-p", "/run/seen")
    machine.write("/run/seen/password", PASSWORD.encode())
    watch = machine.start(
        "sh",
        "-c",
        "while [ ! -e /run/seen/stop ]; do"
        " cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"
        " | grep -F -f /run/seen/password; echo looked; done",
    )
    watch.until_lines(1)

    path = client.mount("cifs", "web", options(OF_JULIOHM, secret=SECRET))

    watch.until_lines(1)
    machine.must("touch", "/run/seen/stop")
    watch.wait(60)
    assert {line.strip() for line in watch.lines} == {"looked"}
    places = ("/run", "/tmp", "/etc", "/var", "/proc/self/mountinfo")
    found = machine.run("grep", "-rlF", "-f", "/run/seen/password", *places, seconds=60)
    assert found.stdout.decode().split() == ["/run/seen/password"]
    assert PASSWORD not in machine.must("dmesg")
    client.unmount("cifs", path)
    machine.must("rm", "-r", "/run/seen")


# NFS.

EXPORT = {"server": SERVER, "share": "/" + SPECIAL}
CLAIM = {
    "kubernetes.io/pvOrVolumeName": "pv",
    "kubernetes.io/pvc.namespace": "shop",
    "kubernetes.io/pvc.name": "data",
    "kubernetes.io/pvc.uid": "u1",
    "kubernetes.io/pvc.accessModes": "ReadWriteMany",
    "kubernetes.io/storageClass.name": "nfs",
    "kubernetes.io/reclaimPolicy": "Delete",
    "kubernetes.io/clusterUid": "c1",
}


class Provisioner:
    """Calls the driver as the provisioner does, with the rights of its container."""

    def __init__(self, machine: Machine) -> None:
        self._client = Client(machine, prefix=tuple(confined()))

    def provision(self, **parameters: str) -> dict[str, str]:
        """Makes the volume pv, and returns the options of its PV."""
        request = {**CLAIM, "requestBytes": "1048576", **parameters}
        volume = self._client.ok("nfs", "provision", json.dumps(request))["volume"]
        own: dict[str, str] = volume["options"]
        return own

    def delete(self, own: dict[str, str]) -> str:
        reply = self._client.ok("nfs", "delete", json.dumps({**CLAIM, **own}))
        message: str = reply.get("message", "")
        return message


@pytest.fixture
def provisioner(net: Net) -> Iterator[Provisioner]:
    """The provisioner, on the new kernel, and an export that a person has prepared."""
    machine = net.new.machine
    machine.must("mkdir", "-p", "/etc/flexvol", f"{EXPORTED}/{SPECIAL}/.flexvol")
    config = json.dumps({"pools": {"default": EXPORT}})
    machine.write("/etc/flexvol/nfs.json", config.encode())
    yield Provisioner(machine)
    machine.must("rm", "-r", f"{EXPORTED}/{SPECIAL}", "/etc/flexvol/nfs.json")


def test_pods_on_two_nodes_write_to_one_volume(net: Net, provisioner: Provisioner) -> None:
    own = provisioner.provision(**{"kubernetes.io/mountOptions": "noatime,vers=4.1"})
    volume = f"{EXPORTED}/{SPECIAL}/shop-data-pv"

    on_new = net.new.mount("nfs", "web", options(own))
    on_old = net.old.mount("nfs", "web", options(own))
    reading = net.old.mount("nfs", "backup", options(own, "ro"))
    net.new.write(f"{on_new}/one", "from new")
    net.old.write(f"{on_old}/two", "from old")

    assert net.old.read(f"{reading}/one") == "from new"
    assert net.new.read(f"{on_new}/two") == "from old"
    assert net.old.is_read_only(reading)
    assert not net.old.is_read_only(on_old)
    assert "nosuid,nodev,noatime" in net.old.flags(on_old)
    assert "vers=4.1" in net.old.flags(on_old)
    grown = ("expandfs", options(own), "", on_old, str(2 << 20), str(1 << 20))
    net.old.ok("nfs", *grown)
    pool, entry = listed(net.new)
    assert entry["sizeBytes"] == 2 << 20
    assert entry["blank"] is False
    assert 0 < pool["freeBytes"] < pool["capacityBytes"]
    net.new.unmount("nfs", on_new)
    net.old.unmount("nfs", on_old)
    net.old.unmount("nfs", reading)
    assert "kept as archived-shop-data-pv" in provisioner.delete(own)
    assert "already gone" in provisioner.delete(own)
    net.new.machine.must("test", "!", "-e", volume)
    assert net.new.read(f"{EXPORTED}/{SPECIAL}/archived-shop-data-pv/two") == "from old"


def listed(client: Client) -> tuple[dict[str, Any], dict[str, Any]]:
    """The only pool and the only volume."""
    reply = client.ok("nfs", "list")
    (pool,) = reply["pools"]
    (volume,) = reply["volumes"]
    assert "error" not in pool
    return pool, volume


def test_a_volume_that_its_class_deletes_is_gone(net: Net, provisioner: Provisioner) -> None:
    own = provisioner.provision(
        archiveOnDelete="false", pathPattern="${.PVC.namespace}/${.PVC.name}"
    )
    path = net.new.mount("nfs", "web", options(own))
    net.new.machine.shell(f"mkdir -p {path}/a/b; ln -s / {path}/a/root; echo x > {path}/a/b/c")
    # In a directory with the sticky bit only its owner removes what others have made.
    sticky = "umask 0; mkdir -m 1777 sticky; touch sticky/of-1000; mkdir -m 700 hidden"
    user = ("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "sh", "-e", "-c")
    net.new.machine.must(*user, f"cd {path}; {sticky}; touch hidden/of-1000")
    net.new.unmount("nfs", path)

    assert provisioner.delete(own) == ""

    left = net.new.machine.must("find", f"{EXPORTED}/{SPECIAL}", "-mindepth", "1")
    inside = {line.rpartition(f"{SPECIAL}/")[2] for line in left.splitlines()}
    assert {path.partition("/")[0] for path in inside} == {".flexvol"}
    assert [path for path in inside if "data" in path or "shop" in path] == []


def test_a_pod_of_another_namespace_gets_nothing(net: Net, provisioner: Provisioner) -> None:
    own = provisioner.provision()
    path = net.new.pod_dir("nfs", "evil")

    foreign = options({**own, "kubernetes.io/pod.namespace": "evil"})
    message = net.new.fails("InvalidArgument", "nfs", "mount", path, foreign)

    assert "another namespace than 'evil'" in message
    assert net.new.mounts_at(path) == 0


@pytest.mark.in_ci_with(client="old")
def test_a_volume_whose_name_became_a_link_leads_nowhere(
    client: Client, net: Net, provisioner: Provisioner
) -> None:
    """Whoever may write to the server's disk puts a link to another directory there."""
    own = provisioner.provision()
    volume = f"{EXPORTED}/{SPECIAL}/shop-data-pv"
    net.new.machine.must("mv", volume, f"{volume}-moved")
    net.new.machine.must("ln", "-s", "/", volume)
    path = client.pod_dir("nfs", "web")

    client.fails("Internal", "nfs", "mount", path, options(own))

    assert client.mounts_at(path) == 0
    stage = client.machine.run("ls", "/run/flexvol/stage").stdout.decode().split()
    assert [name for name in stage if not name.endswith(".lock")] == []


def test_a_lock_service_is_asked_for_where_locks_stay_on_the_node(
    net: Net, provisioner: Provisioner
) -> None:
    request = {**CLAIM, "requestBytes": "1", "kubernetes.io/mountOptions": "vers=3,nolock"}

    message = net.new.fails("InvalidArgument", "nfs", "provision", json.dumps(request))

    assert "'nolock' keeps locks from the server" in message


def test_an_export_that_is_not_prepared_is_refused(net: Net, provisioner: Provisioner) -> None:
    request = json.dumps({**CLAIM, "requestBytes": "1"})
    net.new.machine.must("rm", "-r", f"{EXPORTED}/{SPECIAL}/.flexvol")
    message = net.new.fails("Unavailable", "nfs", "provision", request)
    assert "mkdir -m 700 EXPORT/.flexvol" in message

    net.new.machine.must("mv", f"{EXPORTED}/{SPECIAL}", f"{EXPORTED}/away")
    assert "is not there" in net.new.fails("NotFound", "nfs", "provision", request)
    net.new.machine.must("mv", f"{EXPORTED}/away", f"{EXPORTED}/{SPECIAL}")


def test_a_mount_option_that_the_kernel_does_not_know_is_told(
    net: Net, provisioner: Provisioner
) -> None:
    own = provisioner.provision(**{"kubernetes.io/mountOptions": "tiemo=600"})
    path = net.new.pod_dir("nfs", "web")

    message = net.new.fails("InvalidArgument", "nfs", "mount", path, options(own))

    assert "tiemo" in message
    assert net.new.mounts_at(path) == 0


# Both.


@pytest.mark.campaign
def test_both_mount_on_a_kernel_without_the_mount_api(net: Net, provisioner: Provisioner) -> None:
    client = net.new.changed(WITHOUT_MOUNT_API)
    own = provisioner.provision()

    nfs = client.mount("nfs", "web", options(own))
    reading = client.mount("nfs", "backup", options(own, "ro"))
    cifs = client.mount("cifs", "web", options(OF_JULIOHM, secret=SECRET))
    client.write(f"{nfs}/file", "hello")
    client.write(f"{cifs}/file", "hello")

    assert client.read(f"{reading}/file") == "hello"
    assert client.is_read_only(reading)
    for driver, path in (("nfs", nfs), ("nfs", reading), ("cifs", cifs)):
        client.unmount(driver, path)
    stages = client.machine.must("ls", "/run/flexvol/stage").split()
    assert [name for name in stages if not name.endswith(".lock")] == []


@pytest.mark.parametrize(
    ("driver", "kernel"),
    [
        pytest.param("nfs", "has the mount API", marks=pytest.mark.campaign),
        ("nfs", "has mount(2) alone"),
        pytest.param("cifs", "has the mount API", marks=pytest.mark.campaign),
        pytest.param("cifs", "has mount(2) alone", marks=pytest.mark.campaign),
    ],
)
def test_calls_that_were_killed_are_made_again(
    net: Net, provisioner: Provisioner, driver: str, kernel: str
) -> None:
    """Or the pod has gone in the meantime."""
    own = provisioner.provision() if driver == "nfs" else OF_JULIOHM
    line = ("/payload/killed_calls.py", "/payload/nfs", driver, net.new.pod_dir(driver, "killed"))
    given = options(own, secret=SECRET if driver == "cifs" else None).encode()

    counts = json.loads(net.new.machine.must("python3", "-I", "-S", *line, kernel, stdin=given))

    assert counts["mount"] >= 2
    assert counts["unmount"] >= 1
    assert f"{SERVER}:/" not in net.new.machine.must("cat", "/proc/self/mountinfo")
    assert f"//{SERVER}/" not in net.new.machine.must("cat", "/proc/self/mountinfo")


# Both drivers mount by the same module, so CI judges only the one whose mount takes more options.
@pytest.mark.in_ci_with(driver="cifs")
@pytest.mark.parametrize(
    ("driver", "own", "words"),
    [
        pytest.param("cifs", OF_JULIOHM, ["--secret", "username=web"], id="CIFS"),
        pytest.param("nfs", {"archiveOnDelete": "false"}, ["--provision"], id="NFS"),
    ],
)
def test_flexvol_sanity_finds_no_fault(
    net: Net,
    provisioner: Provisioner,
    campaign: bool,
    driver: str,
    own: dict[str, str],
    words: list[str],
) -> None:
    machine = net.new.machine
    machine.write("/run/options.json", json.dumps(own).encode())
    machine.write("/run/password", PASSWORD.encode())
    if driver == "cifs":
        words = [*words, "--secret-file", "password=/run/password"]
    if not campaign:
        words = [*words, "--check", CHECK]
    line = ["/payload/flexvol", "sanity", f"/payload/{driver}", "--options", "/run/options.json"]

    done = machine.run(*line, "--real-root", "--network", *words, seconds=3600)

    print(done.stdout.decode())
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    machine.must("rm", "/run/options.json", "/run/password")


@pytest.mark.parametrize(
    ("driver", "own"),
    [
        pytest.param("cifs", {**OF_JULIOHM, "server": "10.0.0.9"}, id="CIFS"),
        pytest.param("nfs", {**EXPORT, "server": "10.0.0.9", "poolId": "x"}, id="NFS"),
    ],
)
def test_a_server_that_is_off_is_told(net: Net, driver: str, own: dict[str, str]) -> None:
    path = net.new.pod_dir(driver, "web")

    mounting = ("mount", path, options(own, secret=SECRET))
    message = in_time(lambda: net.new.fails("Unavailable", driver, *mounting))

    assert "cannot be reached; see that it runs" in message
    assert net.new.mounts_at(path) == 0


def in_time(call: Callable[[], Any]) -> Any:
    began = time.monotonic()
    result = call()
    assert time.monotonic() - began < LIMIT_SECONDS + MARGIN_SECONDS
    return result


def test_a_server_that_hangs_keeps_no_callout_and_loses_nothing(
    net: Net, provisioner: Provisioner
) -> None:
    patient = net.old  # on a busy host a server that is well may take longer than the limit
    client = patient.changed(IMPATIENT)
    own = provisioner.provision()
    client.machine.must("mkdir", "-p", "/etc/flexvol")
    client.machine.write(
        "/etc/flexvol/nfs.json", json.dumps({"pools": {"default": EXPORT}}).encode()
    )
    nfs = patient.mount("nfs", "web", options(own))
    cifs = patient.mount("cifs", "web", options(OF_JULIOHM, secret=SECRET))
    late = {driver: client.pod_dir(driver, "late") for driver in ("nfs", "cifs")}
    client.machine.shell(f"echo safe > {nfs}/old; echo safe > {cifs}/old; sync {nfs}/old")

    net.new.machine.freeze()
    try:
        *mounted, listed = in_time(
            lambda: client.at_once(
                ("nfs", "mount", late["nfs"], options(own)),
                ("cifs", "mount", late["cifs"], options(OF_JULIOHM, secret=SECRET)),
                ("nfs", "list"),
            )
        )
        unmounted = in_time(
            lambda: client.at_once(("nfs", "unmount", nfs), ("cifs", "unmount", cifs))
        )
    finally:
        net.new.machine.thaw()

    for reply in mounted:
        assert reply["reason"] == "Unavailable"
        assert f"does not answer within {LIMIT_SECONDS} s" in reply["message"]
    assert "does not answer" in listed["pools"][0]["error"]
    assert [reply["status"] for reply in unmounted] == ["Success", "Success"]
    assert client.mounts_at(nfs) + client.mounts_at(cifs) == 0
    client.machine.must("rmdir", nfs, cifs)  # as kubelet does
    again = patient.mount("nfs", "again", options(own))
    assert client.read(f"{again}/old") == "safe"
    patient.unmount("nfs", again)
    again = patient.mount("cifs", "again", options(OF_JULIOHM, secret=SECRET))
    assert client.read(f"{again}/old") == "safe"
    patient.unmount("cifs", again)
    assert client.mounts_at(late["nfs"]) == 0
    assert client.mounts_at(late["cifs"]) == 0
