"""What the driver and the provisioner share: the contract, and how a program is run and answered.

Both artefacts hold this folder, which imports nothing but itself."""
