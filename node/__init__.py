"""The driver's side, which runs on a node: it is in dist/flexvol only."""
