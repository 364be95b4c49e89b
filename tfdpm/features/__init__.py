"""Features of images: pretrained models by name, SwAV, its parts, and what measures them."""

from tfdpm.data.images.view_config import ViewConfig
from tfdpm.features.autoencoder import Autoencoder
from tfdpm.features.pretrained_models import pretrained
from tfdpm.swav.backbones import Encoder, resnet18, resnet50, small_resnet
from tfdpm.swav.config import (
    PRESETS,
    DeepClusterConfig,
    SeLaConfig,
    SelfSupervisedConfig,
    SwAVConfig,
    TrainingConfig,
    preset,
)
from tfdpm.swav.evaluation import Accuracy, knn_accuracy, linear_probe, semi_supervised
from tfdpm.swav.methods.by_name import METHODS, method_of
from tfdpm.swav.methods.codes import sinkhorn
from tfdpm.swav.methods.offline import DeepCluster, SeLa
from tfdpm.swav.methods.simclr import SimCLR, contrastive_loss
from tfdpm.swav.methods.spherical_kmeans import spherical_kmeans
from tfdpm.swav.methods.swav import SwAV, swapped_prediction_loss
from tfdpm.swav.monitoring import CollapseWatchdog, NearestNeighbours, TrainingState
from tfdpm.swav.optimizers import LARS, WarmupCosine
from tfdpm.swav.published_weights import convert_published_weights
from tfdpm.swav.self_supervised import SelfSupervisedModel
from tfdpm.swav.transfer.boxes import mean_average_precision
from tfdpm.swav.transfer.detector import Detector, detection_batches
from tfdpm.swav.transfer.multilabel_svm import multilabel_svm

__all__ = [
    "LARS",
    "METHODS",
    "PRESETS",
    "Accuracy",
    "Autoencoder",
    "CollapseWatchdog",
    "DeepCluster",
    "DeepClusterConfig",
    "Detector",
    "Encoder",
    "NearestNeighbours",
    "SeLa",
    "SeLaConfig",
    "SelfSupervisedConfig",
    "SelfSupervisedModel",
    "SimCLR",
    "SwAV",
    "SwAVConfig",
    "TrainingConfig",
    "TrainingState",
    "ViewConfig",
    "WarmupCosine",
    "contrastive_loss",
    "convert_published_weights",
    "detection_batches",
    "knn_accuracy",
    "linear_probe",
    "mean_average_precision",
    "method_of",
    "multilabel_svm",
    "preset",
    "pretrained",
    "resnet18",
    "resnet50",
    "semi_supervised",
    "sinkhorn",
    "small_resnet",
    "spherical_kmeans",
    "swapped_prediction_loss",
]
