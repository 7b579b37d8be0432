"""Volumes that are directories: what drivers of such volumes share.

`disk` is for a disk of the node. All others are for one file system that any number of machines
have mounted: an export of NFS, or another file system of a cluster. Such an export has a directory
`.flexvol`, which a person makes and which no pod sees. The record of each volume is there, and no
directory of the export is touched that has no record:

.flexvol/pool.json          the id by which PVs know the export again
.flexvol/lock               whose lock is held while records are changed
.flexvol/volumes/NAME.json  the record of a volume
.flexvol/paths/SHOP%DATA    that the path SHOP/DATA is taken, and by which volume
.flexvol/deleting/NAME      what is left of a volume that is being deleted

A driver mounts the export, opens `pools.open_pool`, and leaves to `callouts` what is done there.
examples/nfs.py is such a driver."""
