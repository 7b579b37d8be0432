"""The driver's door to the machine: everything that touches mounts, devices, file systems and files
is in this folder."""
