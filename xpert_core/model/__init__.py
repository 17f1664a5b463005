"""The XPert network: configuration, attention, blocks, losses, checkpoints."""
