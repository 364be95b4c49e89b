"""The clustering and subclustering networks: layers, losses, training passes, resizing."""
