"""The DeepDPM model: networks, losses, training, and units that are rebuilt when K changes."""
