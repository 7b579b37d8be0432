"""flexvol sanity: judges any FlexVolume driver, by running the driver as Kubernetes does.

A throw-away root (sandbox.py) holds the driver; runner.py runs one call; life.py makes the steps of
a volume's life; a check (check.py) judges one trap of the contract, and catalog.py lists all
checks. No callout imports this folder."""
