"""Data for clustering: generated mixtures, named data sets, files, and `Inputs`."""

from tfdpm.data.catalogue.imbalance import imbalance
from tfdpm.data.catalogue.named import load
from tfdpm.data.catalogue.synthetic import blobs, gaussian_mixture, gaussians15
from tfdpm.data.columns import Columns
from tfdpm.data.files import read, read_images
from tfdpm.data.images.multicrop import multicrop
from tfdpm.data.inputs import Inputs, as_features
from tfdpm.data.shards import read_shards

__all__ = [
    "Columns",
    "Inputs",
    "as_features",
    "blobs",
    "gaussian_mixture",
    "gaussians15",
    "imbalance",
    "load",
    "multicrop",
    "read",
    "read_images",
    "read_shards",
]
