"""Shares of a CIFS server (SMB, Samba, Windows): a PV or an inline volume names the share, and a
Secret has the user name and the password.

docs/your-own-driver/cifs.md says how this driver takes the place of the drivers juliohm/cifs and
fstab/cifs. It takes the options and the Secrets of both, so that their volumes mount unchanged. An
option that it does not know has no effect, as before: a PV cannot be corrected, only made anew.

The password goes to the kernel in the system call that mounts, and nowhere else."""

from node.drivers import Capabilities, Driver, InvalidArgument, Options, Reply, shown
from node.host import mount_table, mounts, network_mounts
from node.host.network_mounts import MountOptions, Share

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List

    from node.drivers import Secret

# What selinuxEnabled means for fstab/cifs: all containers of the node may use the files.
SELINUX_CONTEXT = "context=system_u:object_r:container_file_t:s0"
# What mount.cifs does with options (parse_opt_token and parse_options in mount.cifs.c), where a
# kernel would refuse the option or take the option otherwise. All others go to the kernel as they
# are.
#
# The names that mount.cifs gives to what the kernel calls otherwise.
OTHER_NAMES = {
    "fmask": "file_mode",
    "dmask": "dir_mode",
    "workgroup": "domain",
    "dom": "domain",
    "nolock": "nobrl",
    "pass": "password",
    "user": "username",
}
# Without a value these have no effect.
NEED_VALUE = (
    "uid",
    "gid",
    "cruid",
    "backupuid",
    "backupgid",
    "domain",
    "snapshot",
    "username",
    "password",
)
# These have no effect: they are about locks that kernels since 5.15 do not have.
NO_EFFECT = ("mand", "nomand")
# Whose values may be names, which the kernel does not know.
USERS = ("uid", "cruid", "backupuid")
GROUPS = ("gid", "backupgid")
CREDENTIALS = ("cred", "credentials")
# A snapshot as a person writes it; the kernel counts units of 100 ns from 1601 on.
SNAPSHOT_FORM = "@GMT-%Y.%m.%d-%H.%M.%S"
UNITS_A_SECOND = 10 * 1000 * 1000
SECONDS_FROM_1601_TO_1970 = 11644473600
# Mount options with which a share needs no Secret, and the user that mount.cifs names to the kernel
# then: nobody, or root, whose Kerberos ticket the node has.
WITHOUT_SECRET = {"guest": "", "sec=none": "", "sec=krb5": "root", "sec=krb5i": "root"}


class CifsDriver(Driver):
    EXAMPLE = {"server": "HOST", "share": "/SHARE", "opts": "vers=3.0"}
    # The server knows no Linux groups and labels; see options_of for the pod's fsGroup.
    capabilities = Capabilities(
        attach=False,
        selinuxRelabel=False,
        supportsMetrics=True,
        fsGroup=False,
        requiresFSResize=True,
    )

    def mount(self, mount_dir: str, options: Options) -> Reply:
        mounts.check_directory(mount_dir)
        if mount_table.at(mount_dir) is not None:
            return Reply()
        own = options.own
        source = source_of(own)
        # juliohm/cifs calls them opts.
        words = MountOptions(own.get("opts") or own.get("mountOptions", ""), options.read_only)
        host = source[2:].partition("/")[0]
        share = Share("cifs", host, source, options_of(options, own, words.of_file_system))
        network_mounts.mount(share, mount_dir, words.flags)
        return Reply()

    def unmount(self, mount_dir: str) -> Reply:
        mounts.check_path(mount_dir)
        network_mounts.unmount(mount_dir, "cifs")
        return Reply()

    def expandfs(
        self, options: Options, device: str, mount_dir: str, new_bytes: int, old_bytes: int
    ) -> Reply:
        return Reply()  # how large a share may become is for its server to say


def source_of(own: "Dict[str, str]") -> str:
    """The share as the kernel names it: //HOST/SHARE, or //HOST/SHARE/DIRECTORY.

    own: with `server` and `share` as for juliohm/cifs, or with `networkPath` as for fstab/cifs."""
    source = own.get("networkPath", "").replace("\\", "/")
    if not source:
        source = "//{}/{}".format(own.get("server", ""), own.get("share", "").lstrip("/"))
    host, _, directory = source[2:].partition("/")
    if not source.startswith("//") or not host or not directory.strip("/"):
        raise InvalidArgument(
            "{} names no share; write the options server and share, or networkPath like "
            "//HOST/SHARE".format(shown(source))
        )
    return source.rstrip("/")


def options_of(options: Options, own: "Dict[str, str]", words: "List[str]") -> "List[str]":
    """The options of the file system. Of two that contradict each other the kernel takes the
    last, so those that the volume names come last.

    words: the options that the volume names."""
    wanted: "List[str]" = []
    # CIFS has no owners of its own: all files are the one user's and group's that mount names.
    if options.fs_group is not None:
        wanted.append("uid={}".format(options.fs_group))
        wanted.append("gid={}".format(options.fs_group))
    if own.get("selinuxEnabled", "").lower() == "true":
        wanted.append(SELINUX_CONTEXT)
    words = [word for word in map(as_kernel_has_it, words) if word]
    wanted += credentials(options.secrets, words)
    wanted += without_passwords(words)
    return wanted


def credentials(secrets: "Dict[str, Secret]", words: "List[str]") -> "List[str]":
    """The options that say who mounts.

    The user name DOMAIN\\USER of a Secret is taken apart, unless there is a domain besides.
    mount.cifs hands that name to the kernel as it is, and then not every server knows the user.

    words: the volume's options as the kernel has them. Where the Secret and the volume both have a
    password, the Secret's is used, as with mount.cifs, which takes the first."""
    user = text_of("username", secrets)
    domain = text_of("domain", secrets)
    password = text_of("password", secrets)
    before, backslash, after = user.partition("\\")
    if backslash and not domain and not values_of("domain", words):
        domain = before
        user = after
    for own in values_of("password", words):
        password = password or own
    named = {"username": user, "domain": domain, "password": password}
    wanted = ["{}={}".format(key, value) for key, value in named.items() if value]
    if user or values_of("username", words):
        return wanted
    for word, nobody in WITHOUT_SECRET.items():
        if word in words:
            return ["username=" + nobody, *wanted]
    raise InvalidArgument(
        "there is no user name: name a Secret with username and password in secretRef, whose type "
        "is the driver's name as the volume has it; or guest in the mount options"
    )


def values_of(name: str, words: "List[str]") -> "List[str]":
    """The values of the option of that name."""
    return [word.partition("=")[2] for word in words if word.partition("=")[0] == name]


def without_passwords(words: "List[str]") -> "List[str]":
    """The options without those that `credentials` has looked at."""
    return [word for word in words if word.partition("=")[0] != "password"]


def text_of(key: str, secrets: "Dict[str, Secret]") -> str:
    """A value of the Secret; "" if the Secret has no such key. Most newlines at the end come from
    `echo`, and no server has such a password."""
    if key not in secrets:
        return ""
    try:
        text = secrets[key].reveal().decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        text = "\0"
    if any(character in text for character in "\0\r\n"):
        raise InvalidArgument(
            "{} in the Secret is no text of one line; write it anew, for example with: kubectl "
            "create secret generic --from-literal".format(key)
        )
    return text


def as_kernel_has_it(word: str) -> str:
    """A mount option for mount.cifs, as the kernel has it; "" if the option has no effect."""
    name, _, value = word.partition("=")
    name = OTHER_NAMES.get(name, name)
    if name in CREDENTIALS:
        raise InvalidArgument(
            "the mount option {} names a file of the node; put the user name and the password into "
            "a Secret, and name that in secretRef".format(name)
        )
    if name in NO_EFFECT or (name in NEED_VALUE and not value):
        return ""
    if name in USERS + GROUPS and not value.isdigit():
        value = str(number_of(name, value))
    if name == "snapshot" and not value.isdigit():
        value = str(snapshot_of(value))
    return "{}={}".format(name, value) if "=" in word else name


def snapshot_of(text: str) -> int:
    """The kernel's number of a snapshot that is named by its time."""
    import calendar
    import time

    try:
        seconds = calendar.timegm(time.strptime(text, SNAPSHOT_FORM))
    except ValueError:
        raise InvalidArgument(
            "the mount option snapshot is {}; write it like @GMT-2026.01.31-23.59.59, or as the "
            "number that the server gives to it".format(shown(text))
        ) from None
    return (seconds + SECONDS_FROM_1601_TO_1970) * UNITS_A_SECOND


def number_of(option: str, name: str) -> int:
    """The number of a user or a group of the node."""
    import grp
    import pwd

    try:
        return grp.getgrnam(name).gr_gid if option in GROUPS else pwd.getpwnam(name).pw_uid
    except KeyError:
        raise InvalidArgument(
            "the mount option {} is {}, which this node does not know; write the number".format(
                option, shown(name)
            )
        ) from None
