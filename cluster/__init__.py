"""The provisioner's side, which talks to the API server: it is in dist/provisioner only."""
