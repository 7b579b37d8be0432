"""The provisioner: claims become PVs, released PVs are deleted. What decides is plain functions
over plain data; the API is reached through cluster.py alone, and drivers through storage.py
alone."""

from cluster.controller import client_parts

client_parts.leave_out()  # before anything here imports the client
