"""What commands ask of the loop driver, and no callout: reports, snapshots, streams, trimming."""
