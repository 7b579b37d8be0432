"""examples/cifs.py: the volumes of juliohm/cifs and fstab/cifs as the kernel gets them."""

from __future__ import annotations

import base64
import json

import pytest

from examples import cifs
from node.host.network_mounts import MountOptions
from shared.options import Options
from shared.protocol import InvalidArgument

SECRET = {"username": "web", "password": "pa,ss w$rd"}


def options(secret: dict[str, str] | None = None, **values: str) -> Options:
    """As kubelet passes them to mount."""
    known = SECRET if secret is None else secret
    encoded = {
        f"kubernetes.io/secret/{key}": base64.b64encode(value.encode()).decode()
        for key, value in known.items()
    }
    return Options.parse(json.dumps({**encoded, **values}))


def mounted_with(
    mount_options: str = "", secret: dict[str, str] | None = None, **values: str
) -> str:
    """The kernel's options, for a volume with these mount options."""
    words = MountOptions(mount_options).of_file_system
    given = options(secret, **values)
    return " ".join(cifs.options_of(given, given.own, words))


@pytest.mark.parametrize(
    ("own", "source"),
    [
        pytest.param({"server": "nas", "share": "/data"}, "//nas/data", id="as juliohm writes it"),
        pytest.param({"server": "nas", "share": "data"}, "//nas/data", id="without the slash"),
        pytest.param(
            {"server": "nas", "share": "/data/a b/ü"}, "//nas/data/a b/ü", id="a directory in it"
        ),
        pytest.param({"networkPath": "//nas/data"}, "//nas/data", id="as fstab writes it"),
        pytest.param({"networkPath": "//nas/data/"}, "//nas/data", id="with a slash at the end"),
        pytest.param({"networkPath": r"\\nas\data"}, "//nas/data", id="as Windows writes it"),
    ],
)
def test_the_share_is_named_as_both_drivers_name_it(own: dict[str, str], source: str) -> None:
    assert cifs.source_of(own) == source


@pytest.mark.parametrize(
    "own",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"server": "nas"}, id="no share"),
        pytest.param({"share": "/data"}, id="no server"),
        pytest.param({"networkPath": "nas/data"}, id="no slashes before it"),
        pytest.param({"networkPath": "//nas"}, id="a server alone"),
        pytest.param({"networkPath": "//nas//"}, id="a share without a name"),
        pytest.param({"networkPath": "///data"}, id="a server without a name"),
    ],
)
def test_what_names_no_share_is_refused(own: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument, match="names no share; write the options server and share"):
        cifs.source_of(own)


@pytest.mark.parametrize(
    ("secret", "wanted"),
    [
        pytest.param(SECRET, "username=web password=pa,ss w$rd", id="a user and a password"),
        pytest.param(
            {**SECRET, "domain": "SHOP"},
            "username=web domain=SHOP password=pa,ss w$rd",
            id="a domain beside them",
        ),
        pytest.param(
            {**SECRET, "username": r"SHOP\web"},
            "username=web domain=SHOP password=pa,ss w$rd",
            id="a domain before the user",
        ),
        pytest.param(
            {**SECRET, "username": "SHOP/web"},
            "username=SHOP/web password=pa,ss w$rd",
            id="a slash is part of the name",
        ),
        pytest.param(
            {"username": r"SHOP\we\b", "password": "p"},
            r"username=we\b domain=SHOP password=p",
            id="a second backslash",
        ),
        pytest.param(
            {"username": r"SHOP\web", "domain": "BAR", "password": "p"},
            r"username=SHOP\web domain=BAR password=p",
            id="a domain before the user and another beside them",
        ),
        pytest.param(
            {"username": "web\n", "password": "p\r\n"},
            "username=web password=p",
            id="the newlines of echo",
        ),
        pytest.param({"username": "web"}, "username=web", id="no password"),
        pytest.param({"username": "ü", "password": "ß€"}, "username=ü password=ß€", id="unicode"),
        pytest.param(
            {"username": "web", "password": " = p "}, "username=web password= = p ", id="blanks"
        ),
    ],
)
def test_the_secret_says_who_mounts(secret: dict[str, str], wanted: str) -> None:
    assert mounted_with(secret=secret) == wanted


@pytest.mark.parametrize(
    "password",
    [
        pytest.param("two\nlines", id="a newline"),
        pytest.param("a\rb", id="a carriage return"),
        pytest.param("a\0b", id="a zero byte"),
    ],
)
def test_a_password_of_several_lines_is_refused_without_showing_it(password: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        mounted_with(secret={"username": "web", "password": password})

    assert "password in the Secret is no text of one line; write it anew" in str(raised.value)
    assert password[:3] not in str(raised.value)


def test_a_password_that_is_no_text_is_refused() -> None:
    encoded = {"kubernetes.io/secret/username": base64.b64encode(b"\xff\xfe").decode()}

    with pytest.raises(InvalidArgument, match="username in the Secret is no text"):
        cifs.credentials(Options(encoded).secrets, [])


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        pytest.param("guest", "username= guest", id="a guest"),
        pytest.param("sec=none", "username= sec=none", id="nobody"),
        pytest.param("sec=krb5", "username=root sec=krb5", id="Kerberos"),
        pytest.param("username=web", "username=web", id="a user in the mount options"),
        pytest.param("user=web,guest", "username=web guest", id="a user by the short name"),
    ],
)
def test_a_share_for_everyone_needs_no_secret(words: str, wanted: str) -> None:
    assert mounted_with(words, secret={}) == wanted


def test_without_a_user_the_mount_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="there is no user name: name a Secret"):
        mounted_with("vers=3.0", secret={})


@pytest.mark.parametrize(
    ("mount_options", "wanted"),
    [
        pytest.param("vers=3.0,noperm", "vers=3.0 noperm", id="as they are"),
        pytest.param(" vers=3.0 , noperm ,", "vers=3.0 noperm", id="with blanks and commas"),
        pytest.param("rw,_netdev,nofail,x-systemd.automount", "", id="words of fstab have no use"),
        pytest.param("nosuid,noexec,ro", "", id="flags of the mount are no options"),
        pytest.param("uid=root,gid=root", "uid=0 gid=0", id="names of the node"),
        pytest.param("uid=33,gid=33,forceuid", "uid=33 gid=33 forceuid", id="numbers"),
        pytest.param("fmask=0644,dmask=0755", "file_mode=0644 dir_mode=0755", id="old names"),
        pytest.param("workgroup=SHOP", "domain=SHOP", id="a workgroup is a domain"),
        pytest.param("dom=SHOP", "domain=SHOP", id="a domain by its short name"),
        pytest.param("domain=,dom,workgroup=", "", id="no domain"),
        pytest.param("nolock", "nobrl", id="no locks"),
        pytest.param("mand", "", id="locks of the kernel"),
        pytest.param("nomand", "", id="no locks of the kernel"),
        pytest.param("comment=a note", "", id="a comment"),
        pytest.param("uid=,gid=,cruid=,backupuid=,backupgid=", "", id="nobody's numbers"),
        pytest.param("uid,gid,cruid,backupuid,backupgid", "", id="numbers without a sign"),
        pytest.param("cruid=root,backupuid=0", "cruid=0 backupuid=0", id="other users"),
        pytest.param("backupgid=root", "backupgid=0", id="another group"),
        pytest.param("user,users,user=,users", "", id="who may mount by fstab"),
        pytest.param("silent,loud,iversion,nostrictatime", "", id="flags without an effect"),
        pytest.param("snapshot=132", "snapshot=132", id="a snapshot by its number"),
        pytest.param(
            "snapshot=@GMT-2019.03.27-20.52.19",
            "snapshot=131981935390000000",
            id="a snapshot by its time",
        ),
        pytest.param("snapshot=", "", id="no snapshot"),
        pytest.param(
            "sec=ntlmssp,cache=none,ip=192.0.2.1,port=446",
            "sec=ntlmssp cache=none ip=192.0.2.1 port=446",
            id="what both call the same",
        ),
    ],
)
def test_mount_options_mean_what_they_mean_to_mount(mount_options: str, wanted: str) -> None:
    said = mounted_with(mount_options, secret={"username": "web"})

    assert said == f"username=web {wanted}".strip()


@pytest.mark.parametrize(
    ("mount_options", "secret", "wanted"),
    [
        pytest.param("password=b", {"password": "a"}, "password=a", id="the Secret's"),
        pytest.param("pass=b", {"password": "a"}, "password=a", id="by its short name"),
        pytest.param("password=b", {}, "password=b", id="the volume's"),
        pytest.param("pass=b", {"password": ""}, "password=b", id="of an empty Secret"),
        pytest.param("pass=b,password=c", {}, "password=b", id="the first of two"),
        pytest.param("pass=,password=c", {}, "password=c", id="an empty one"),
        pytest.param("pass=a=b", {}, "password=a=b", id="with a sign in it"),
    ],
)
def test_of_two_passwords_that_of_the_secret_is_used(
    mount_options: str, secret: dict[str, str], wanted: str
) -> None:
    said = mounted_with(f"{mount_options},hard", secret={"username": "web", **secret})

    assert said == f"username=web {wanted} hard"


def test_a_domain_among_the_options_leaves_the_user_as_it_is() -> None:
    secret = {"username": r"SHOP\web"}

    assert mounted_with("dom=BAR", secret=secret) == r"username=SHOP\web domain=BAR"


@pytest.mark.parametrize(
    ("mount_options", "message"),
    [
        pytest.param("credentials=/etc/shadow", "names a file of the node", id="a file"),
        pytest.param("cred=/x", "names a file of the node", id="a file by its short name"),
        pytest.param("snapshot=yesterday", "snapshot is 'yesterday'", id="no snapshot"),
        pytest.param("uid=nobody-here", "uid is 'nobody-here'", id="a user that is not there"),
        pytest.param("gid=nobody-here", "gid is 'nobody-here'", id="a group that is not there"),
    ],
)
def test_a_mount_option_that_the_kernel_cannot_have_is_refused(
    mount_options: str, message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        mounted_with(mount_options)


def test_the_pods_group_owns_the_files_unless_the_volume_says_another() -> None:
    said = mounted_with(
        "uid=7", secret={"username": "web"}, **{"kubernetes.io/mounterArgs.FsGroup": "33"}
    )

    assert said == "uid=33 gid=33 username=web uid=7"


@pytest.mark.parametrize(("value", "labelled"), [("true", True), ("TRUE", True), ("false", False)])
def test_selinux_gets_the_label_of_fstabs_driver(value: str, labelled: bool) -> None:
    said = mounted_with(selinuxEnabled=value)

    assert ("context=system_u:object_r:container_file_t:s0" in said) == labelled
