"""Pretrained models of images and texts by name, from keras.applications and KerasHub.

Nothing is downloaded unless that is asked for.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, NoReturn

import keras
from keras import layers

from tfdpm import checks
from tfdpm.features.text_models import sentence_encoder, takes_tokens

# Short names, and what they stand for: a class of keras.applications or a preset of KerasHub.
ALIASES = {
    "efficientnet": "EfficientNetV2B0",
    "mobilenet": "MobileNetV2",
    "resnet": "ResNet50V2",
    "convnext": "ConvNeXtTiny",
    "dinov2": "dinov2_small",
    "clip": "clip_vit_base_patch16",
    "minilm": "all_minilm_l6_v2_en",
    "e5": "multilingual_e5_base",
}
_TEXT_MODELS = ("minilm", "e5")
_SIDE = 224  # pixels to which images are brought where a model does not say another size


@keras.saving.register_keras_serializable(package="tfdpm")
class ApplicationPreprocessing(layers.Layer):
    """Layer that prepares images from 0 to 255 as a module of keras.applications expects them.

    Args:
        module: name of the module, such as "resnet_v2".
    """

    def __init__(self, module: str, **kwargs: Any):
        super().__init__(**kwargs)
        self.module = module

    def call(self, inputs):
        return getattr(keras.applications, self.module).preprocess_input(inputs)

    def get_config(self):
        return super().get_config() | {"module": self.module}


def is_pretrained(name: str) -> bool:
    """Whether a name is that of a pretrained model; of KerasHub's if it is installed."""
    return name in ALIASES or _application(name) is not None or _is_preset(name)


def pretrained(
    name: str,
    *,
    weights: str | os.PathLike[str] | None = "local",
    download: bool = False,
    image_size: int | None = None,
) -> keras.Model:
    """Makes a model from colour images, of any size and from 0 to 255, or texts to rows.

    Preprocessing is inside: images are resized, cut to a square, and standardised. Texts `[N]` are
    split by the preset's tokenizer; their tokens' means have length one.

    Args:
        name: one of
            - "efficientnet", "mobilenet", "resnet", "convnext", or a model of keras.applications
              such as "EfficientNetB3";
            - "dinov2", "clip", or a preset of KerasHub by its name, handle or folder (needs
              keras-hub);
            - "minilm", "e5" for texts, or such a preset with BERT, RoBERTa or another encoder.
        weights: "local" for weights that are on this machine; a file of weights, for
            keras.applications; `None` for random ones.
        download: whether weights that are missing may be downloaded, by Keras or KerasHub.
        image_size: side, pixels, to which images are brought; `None` for texts, and for
            224 or what a preset says. A third of it takes a ninth of the time.

    Raises:
        ValueError: if no model has that name.
        FileNotFoundError: if weights are missing.
        ImportError: without keras-hub, where it is needed.
    """
    checks.boolean(download, "download")
    if image_size is not None:
        checks.integer(image_size, "image_size", minimum=32)
    known = ALIASES.get(name, name)
    if _application(known) is not None:
        return _load_application(name, known, weights, download, image_size or _SIDE)
    if _is_preset(known) or known in ALIASES.values():
        return _load_preset(name, known, weights, download, image_size)
    wanted = f"one of {', '.join(ALIASES)}, or a name of keras.applications or KerasHub"
    checks.fail("name", repr(name), wanted)


def local_model() -> str | None:
    """Short name of the first model whose weights are on this machine, or `None`."""
    for name, known in ALIASES.items():
        if _application(known) is not None and _application_file(known) is not None:
            return name
    return None


def local_text_model() -> str | None:
    """Short name of the first model of texts whose weights are on this machine, or `None`."""
    try:
        import keras_hub  # an optional extra
    except ImportError:
        return None
    for name in _TEXT_MODELS:
        if _preset_folder(keras_hub, ALIASES[name]) is not None:
            return name
    return None


def _application(name: str) -> Any:
    """The function of keras.applications of that name, or `None`."""
    found = getattr(keras.applications, name, None)
    return found if callable(found) else None


def _application_file(name: str) -> str | None:
    """File of the ImageNet weights, without classes, that Keras has downloaded before."""
    pattern = re.compile(rf"(weights)?{name.lower()}(weights.*|\d.*)?notop(v\d)?h5")
    home = os.environ.get("KERAS_HOME", Path.home() / ".keras")
    for path in sorted(Path(home, "models").glob("*.h5")):
        if pattern.fullmatch(re.sub("[^a-z0-9]", "", path.name.lower())):
            return str(path)
    return None


def _load_application(
    name: str, known: str, weights: Any, download: bool, side: int
) -> keras.Model:
    make = _application(known)
    if weights == "local":
        weights = _application_file(known) or ("imagenet" if download else "")
        if not weights:
            _fail_without_weights(name)
    elif weights is not None and not os.path.exists(weights):
        checks.fail("weights", repr(os.fspath(weights)), "an existing file", FileNotFoundError)
    shape = (side, side, 3)
    backbone = make(include_top=False, pooling="avg", input_shape=shape, weights=weights)
    # Behind a `Resizing` layer Keras would train it, batch statistics too, unless told otherwise.
    backbone.trainable = False
    images = keras.Input((None, None, 3))
    resized = layers.Resizing(side, side, crop_to_aspect_ratio=True)(images)
    prepared = ApplicationPreprocessing(make.__module__.rpartition(".")[2])(resized)
    return keras.Model(images, backbone(prepared), name=name.lower())


def _is_preset(name: str) -> bool:
    """Whether KerasHub would know a preset; without it, names are unknown, and folders known."""
    if "://" in name or os.path.exists(os.path.join(name, "config.json")):
        return True
    try:
        import keras_hub  # an optional extra, with packages of its own
    except ImportError:
        return False
    return name in keras_hub.models.Backbone.presets


def _load_preset(
    name: str, known: str, weights: Any, download: bool, image_size: int | None
) -> keras.Model:
    hub = checks.import_optional("keras_hub", "name", "hub")
    if weights not in ("local", None):
        checks.fail("weights", repr(weights), "'local' or None for a preset, which may be a folder")
    if not (download or os.path.isdir(known) or _preset_folder(hub, known) is not None):
        _fail_without_weights(name)
    options = {}
    if "dinov2" in known or image_size is not None:
        options["image_shape"] = (image_size or _SIDE, image_size or _SIDE, 3)
    backbone = hub.models.Backbone.from_preset(known, load_weights=weights is not None, **options)
    backbone.trainable = False
    if takes_tokens(backbone):
        if image_size is not None:
            checks.fail("image_size", image_size, "None for a model of texts")
        return sentence_encoder(hub, name, known, backbone)
    converter = hub.layers.ImageConverter.from_preset(known)
    size = getattr(backbone, "image_shape", None) or converter.image_size or (_SIDE, _SIDE)
    size = [each or _SIDE for each in size[:2]]
    images = keras.Input((None, None, 3))
    prepared = layers.Resizing(*size, crop_to_aspect_ratio=True)(images)
    if converter.scale is not None or converter.offset is not None:
        scale = 1.0 if converter.scale is None else converter.scale
        offset = 0.0 if converter.offset is None else converter.offset
        prepared = layers.Rescaling(scale, offset)(prepared)
    if hasattr(backbone, "get_vision_embeddings"):
        rows = backbone.get_vision_embeddings(prepared)
    else:
        rows = backbone(prepared)
    if isinstance(rows, dict):
        checks.fail("name", f"{name!r}, whose outputs are {sorted(rows)}", "a backbone of images")
    if len(rows.shape) == 3:
        rows = rows[:, 0]  # the token that stands for the whole image
    elif len(rows.shape) == 4:
        rows = layers.GlobalAveragePooling2D()(rows)
    return keras.Model(images, rows, name=re.sub(r"\W+", "_", name).strip("_"))


def _preset_folder(hub: Any, preset: str) -> Path | None:
    """Where a download of before has put a preset, if anywhere."""
    handle = hub.models.Backbone.presets.get(preset, {}).get("kaggle_handle", preset)
    cache = os.environ.get("KAGGLEHUB_CACHE", Path.home() / ".cache" / "kagglehub")
    folder = Path(cache, "models", handle.removeprefix("kaggle://"))
    return folder if folder.is_dir() else None


def _fail_without_weights(name: str) -> NoReturn:
    wanted = f"them here: tfdpm.features.pretrained({name!r}, download=True) fetches them"
    checks.fail("features", f"no weights of {name!r}", wanted, FileNotFoundError)
