"""What commands ask of the loop driver, and no callout: the setup of pools, reports, snapshots,
streams, trimming."""
