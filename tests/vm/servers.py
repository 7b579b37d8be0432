"""Servers of files on the network, in a machine for others to mount from."""

from __future__ import annotations

from tests.vm.machine import Machine

_SMB_CONF = """
[global]
server role = standalone server
server min protocol = SMB2
disable netbios = yes
map to guest = bad user
unix charset = UTF-8
log file = /run/samba/log
[data]
path = {directory}
writable = yes
[public]
path = {directory}/public
guest ok = yes
"""
_SERVE_CIFS = """
mkdir -p /run/samba /var/lib/samba/private /var/cache/samba /var/log/samba {directory}/public
chmod 777 {directory} {directory}/public
echo 'web:x:1000:1000::/:/bin/false' >> /etc/passwd
echo 'web:x:1000:' >> /etc/group
"""
# Clients that come back within the grace time get their locks again; then others may have them.
_SERVE_NFS = """
modprobe -a nfsd
mount -t nfsd nfsd /proc/fs/nfsd
mkdir -p {directory} /var/lib/nfs/rpc_pipefs /run/rpc_pipefs
mkdir -p /var/lib/nfs/nfsdcld /var/lib/nfs/v4recovery
mount -t rpc_pipefs sunrpc /var/lib/nfs/rpc_pipefs
mount -t rpc_pipefs sunrpc /run/rpc_pipefs
echo 10 > /proc/fs/nfsd/nfsv4gracetime
echo 10 > /proc/fs/nfsd/nfsv4leasetime
touch /var/lib/nfs/etab /var/lib/nfs/rmtab /etc/exports
rpcbind
nfsdcld
exportfs -o rw,no_root_squash,fsid=0,insecure,no_subtree_check,sync '*:{directory}'
rpc.mountd
rpc.nfsd -N 3 2
"""


def connect(machine: Machine, name: str, address: str) -> None:
    """Gives the machine its address on the cable, and its name: two NFS clients of one name are
    one client to the server, which then refuses neither of them the other's locks."""
    machine.shell(
        f"echo {name} > /proc/sys/kernel/hostname; modprobe virtio_net;"
        f"ip addr add {address}/24 dev eth0; ip link set eth0 up"
    )


def serve_nfs(machine: Machine, directory: str) -> None:
    """Exports the directory by NFS 4 as /, to everyone, who may be root there."""
    machine.shell(_SERVE_NFS.format(directory=directory))


def serve_cifs(machine: Machine, directory: str, password: str) -> None:
    """Shares the directory as `data` with the user web, and its directory `public` with all."""
    machine.shell(_SERVE_CIFS.format(directory=directory))
    machine.write("/etc/samba/smb.conf", _SMB_CONF.format(directory=directory).encode())
    twice = f"{password}\n{password}\n".encode()
    machine.must("smbpasswd", "-s", "-a", "web", stdin=twice)
    machine.must("smbd", "-D")
