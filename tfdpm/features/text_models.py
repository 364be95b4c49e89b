"""Sentence encoders of presets of KerasHub: from texts to rows of length one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from tfdpm import checks
from tfdpm.features.encoders import RowNorm


@keras.saving.register_keras_serializable(package="tfdpm")
class Tokens(layers.Layer):
    """Layer from texts `[B]` to the tokens `[B, T]` of a preset, as many as the longest text has.

    Tokens are made in Python, for which KerasHub needs no operations of TensorFlow Text.

    Args:
        preprocessor: preprocessor of KerasHub, which splits and pads texts.
        names: what the backbone takes of it, "padding_mask" among them.
    """

    def __init__(self, preprocessor: Any, names: Sequence[str], **kwargs: Any):
        super().__init__(**kwargs)
        self.preprocessor, self.names = preprocessor, list(names)
        self.built = True  # KerasHub builds the preprocessor at its first texts

    def call(self, inputs):
        found = tf.numpy_function(self._tokens, [inputs], [tf.int32] * len(self.names))
        for each in found:
            each.set_shape((inputs.shape[0], None))
        return dict(zip(self.names, found, strict=True))

    def compute_output_spec(self, inputs):
        shape = (inputs.shape[0], None)
        return {name: keras.KerasTensor(shape, "int32") for name in self.names}

    def get_config(self):
        preprocessor = keras.saving.serialize_keras_object(self.preprocessor)
        return super().get_config() | {"preprocessor": preprocessor, "names": self.names}

    @classmethod
    def from_config(cls, config):
        preprocessor = keras.saving.deserialize_keras_object(config["preprocessor"])
        return cls(**config | {"preprocessor": preprocessor})

    def _tokens(self, texts: np.ndarray) -> list[np.ndarray]:
        found = self.preprocessor([text.decode() for text in texts])
        longest = np.asarray(found["padding_mask"]).sum(axis=1).max()
        return [np.asarray(found[name])[:, :longest].astype(np.int32) for name in self.names]


def takes_tokens(backbone: keras.Model) -> bool:
    """Whether a backbone of KerasHub takes texts alone."""
    names = backbone.input if isinstance(backbone.input, dict) else {}
    return {"token_ids", "padding_mask"} <= set(names) and "images" not in names


def sentence_encoder(hub: Any, name: str, preset: str, backbone: keras.Model) -> keras.Model:
    """Makes a model from texts `[N]` to rows of length one, the means of a backbone's tokens.

    Args:
        hub: the module `keras_hub`.
        name: how the user calls the model.
        preset: name, handle or folder of the preset, whose tokenizer is used.
        backbone: its backbone, from tokens to a row for each.
    """
    try:
        preprocessor = hub.models.TextClassifierPreprocessor.from_preset(preset)
    except ImportError as error:
        wanted = f"what it needs installed: pip install 'tfdpm[hub]' ({checks.one_line(error)})"
        checks.fail("name", repr(name), wanted, ImportError)
    except (ValueError, FileNotFoundError) as error:  # such as a folder without a tokenizer
        got = f"{name!r}, whose texts KerasHub does not prepare ({checks.one_line(error)})"
        checks.fail("name", got, "an encoder of texts, such as 'minilm'")
    longest = getattr(backbone, "max_sequence_length", None) or preprocessor.sequence_length
    preprocessor.sequence_length = min(preprocessor.sequence_length, longest)
    texts = keras.Input((), dtype="string")
    tokens = Tokens(preprocessor, sorted(backbone.input), name="tokens")(texts)
    rows = backbone(tokens)
    if isinstance(rows, dict):
        rows = rows["sequence_output"]
    # Padding counts for nothing.
    mean = layers.GlobalAveragePooling1D()(rows, mask=tokens["padding_mask"])
    return keras.Model(texts, RowNorm()(mean), name=re.sub(r"\W+", "_", name).strip("_"))
