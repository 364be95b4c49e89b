"""tfdpm: clustering that finds the number of clusters, and the features to cluster."""
