"""Features of images: pretrained models by name, SwAV, its parts, and what measures them."""

from tfdpm.data.images.view_config import ViewConfig
from tfdpm.features.autoencoder import Autoencoder
from tfdpm.features.pretrained_models import pretrained
from tfdpm.swav.backbones import Encoder, resnet18, resnet50, small_resnet
from tfdpm.swav.codes import sinkhorn
from tfdpm.swav.config import PRESETS, SwAVConfig, TrainingConfig, preset
from tfdpm.swav.evaluation import Accuracy, knn_accuracy, linear_probe, semi_supervised
from tfdpm.swav.loss import swapped_prediction_loss
from tfdpm.swav.model import SwAV
from tfdpm.swav.monitoring import CollapseWatchdog, NearestNeighbours, TrainingState
from tfdpm.swav.optimizers import LARS, WarmupCosine
from tfdpm.swav.published_weights import convert_published_weights
from tfdpm.swav.self_supervised import SelfSupervisedModel

__all__ = [
    "LARS",
    "PRESETS",
    "Accuracy",
    "Autoencoder",
    "CollapseWatchdog",
    "Encoder",
    "NearestNeighbours",
    "SelfSupervisedModel",
    "SwAV",
    "SwAVConfig",
    "TrainingConfig",
    "TrainingState",
    "ViewConfig",
    "WarmupCosine",
    "convert_published_weights",
    "knn_accuracy",
    "linear_probe",
    "preset",
    "pretrained",
    "resnet18",
    "resnet50",
    "semi_supervised",
    "sinkhorn",
    "small_resnet",
    "swapped_prediction_loss",
]
