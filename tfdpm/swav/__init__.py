"""SwAV: image features learned without labels by swapping the cluster assignments of views."""
