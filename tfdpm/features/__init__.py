"""Features of images without labels: SwAV, its parts, and what measures them."""

from __future__ import annotations

from tfdpm.features.autoencoder import Autoencoder
from tfdpm.features.backbones import resnet18, resnet50, small_resnet
from tfdpm.features.callbacks import CollapseWatchdog, NearestNeighbours, TrainingState
from tfdpm.features.dp_swav import DPSwAV
from tfdpm.features.evaluation import Accuracy, knn_accuracy, linear_probe, semi_supervised
from tfdpm.features.image_encoder import Encoder
from tfdpm.features.losses import swapped_prediction_loss
from tfdpm.features.optimizers import LARS, WarmupCosine
from tfdpm.features.presets import PRESETS, SwAVConfig, TrainingConfig, ViewConfig, preset
from tfdpm.features.published_weights import convert_published_weights
from tfdpm.features.sinkhorn import sinkhorn
from tfdpm.features.swav import SwAV

__all__ = [
    "LARS",
    "PRESETS",
    "Accuracy",
    "Autoencoder",
    "CollapseWatchdog",
    "DPSwAV",
    "Encoder",
    "NearestNeighbours",
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
    "resnet18",
    "resnet50",
    "semi_supervised",
    "sinkhorn",
    "small_resnet",
    "swapped_prediction_loss",
]
