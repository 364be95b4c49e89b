"""Sentence encoders: means of tokens that are no padding, and texts to clusters by name."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import homogeneity_score

import tfdpm
from tfdpm import DeepDPMConfig, checks
from tfdpm.features import pretrained

TOPICS = ("ball goal team match", "bank loan rate money", "rain wind cloud storm")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *" ".join(TOPICS).split()]
TEXTS = ["Ball goal", "rain wind cloud", "", "storm storm storm storm storm storm storm storm"]
CONFIG = DeepDPMConfig(min_steps_per_epoch=10, epochs=2, stable_epochs=None)


@keras.saving.register_keras_serializable(package="tests")
class Splitter:
    """Stand-in for a preprocessor: a start, at most as many words as fit, and padding."""

    def __init__(self, sequence_length=10):
        self.sequence_length = sequence_length

    def __call__(self, texts):
        ids = np.zeros((len(texts), self.sequence_length), np.int32)
        for row, text in zip(ids, texts, strict=True):
            found = [2, *(WORDS.index(word) for word in text.lower().split())]
            row[: len(found)] = found[: self.sequence_length]
        return {"token_ids": ids, "padding_mask": ids != 0, "segment_ids": ids * 0}

    def get_config(self):
        return {"sequence_length": self.sequence_length}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def stand_in(prepare=Splitter):
    """What of KerasHub is used, with a backbone whose padding would be noticed."""
    names = ("token_ids", "padding_mask")
    ids, mask = (keras.Input((None,), dtype="int32", name=name) for name in names)
    initializer = keras.initializers.RandomNormal(seed=0)
    rows = keras.layers.Embedding(len(WORDS), 12, embeddings_initializer=initializer)(ids)
    backbone = keras.Model({"token_ids": ids, "padding_mask": mask}, rows)
    backbone.max_sequence_length = 6
    presets = {"all_minilm_l6_v2_en": {"kaggle_handle": "kaggle://keras/s/keras/minilm/1"}}
    models = SimpleNamespace(
        Backbone=SimpleNamespace(presets=presets, from_preset=lambda *_, **__: backbone),
        TextClassifierPreprocessor=SimpleNamespace(from_preset=lambda _: prepare()),
    )
    return SimpleNamespace(models=models), backbone


@pytest.fixture
def backbone(monkeypatch, tmp_path):
    """The backbone of a stand-in for KerasHub, whose weights of "minilm" are on this machine."""
    hub, backbone = stand_in()
    monkeypatch.setitem(sys.modules, "keras_hub", hub)
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    (tmp_path / "models/keras/s/keras/minilm/1").mkdir(parents=True)
    return backbone


def topics_of(count):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, count)
    return [" ".join(rng.choice(TOPICS[k].split(), 5)) for k in y], y


def test_rows_are_means_of_tokens_without_padding(backbone, tmp_path):
    model = pretrained("minilm")
    table = backbone.get_weights()[0]
    wanted = []
    for text in TEXTS:
        ids = [2, *(WORDS.index(word) for word in text.lower().split())][:6]
        mean = sum(table[i] for i in ids) / len(ids)
        wanted.append(mean / np.sqrt(sum(mean**2)))
    np.testing.assert_allclose(model(tf.constant(TEXTS)), wanted, atol=1e-6)
    stream = tf.data.Dataset.from_tensor_slices(TEXTS).batch(3).map(model)
    np.testing.assert_allclose(np.concatenate(list(stream)), wanted, atol=1e-6)
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(again(tf.constant(TEXTS)), wanted, atol=1e-6)


def test_texts_are_clustered_by_the_name_of_a_model(backbone, tmp_path):
    texts, topics = topics_of(120)
    model = tfdpm.fit((texts, topics), features="minilm", config=CONFIG, verbose=0)
    assert model.features_ == "backbone (minilm, asked for)"
    # Texts of the same few words are alike within a topic too.
    assert homogeneity_score(topics, model.labels_) > 0.95 and model.n_clusters < 10
    model.save(tmp_path / "m.keras")
    again = tfdpm.load(tmp_path / "m.keras")
    np.testing.assert_array_equal(again.predict_labels(np.array(texts)), model.labels_)
    with pytest.raises(TypeError, match=r"got 1.0 at 0, wanted \[N\] texts"):
        tfdpm.fit(np.ones((20, 1)), features="minilm", verbose=0)


@pytest.mark.parametrize("form", [list, np.array, tf.data.Dataset.from_tensor_slices])
def test_texts_alone_are_an_error_that_proposes_what_is_here(form, backbone, monkeypatch):
    texts = form(topics_of(20)[0])
    with pytest.raises(
        TypeError, match="got (text|dtype string), .* features='minilm', whose weights are"
    ):
        tfdpm.fit(texts, verbose=0)
    monkeypatch.setenv("KAGGLEHUB_CACHE", "none")
    with pytest.raises(TypeError, match=r"rows of texts, such as .*'minilm', download=True"):
        tfdpm.fit(texts, verbose=0)
    with pytest.raises(FileNotFoundError, match=r"no weights of 'minilm'.*download=True"):
        tfdpm.fit(texts, features="minilm", verbose=0)


def test_texts_without_keras_hub_are_an_error_that_says_what_to_pass(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(TypeError, match=r"rows of texts, such as .*'minilm', download=True"):
        tfdpm.fit(TEXTS, verbose=0)
    with pytest.raises(ImportError, match=r"no keras_hub, wanted .*tfdpm\[hub\]"):
        tfdpm.fit(TEXTS, features="minilm", verbose=0)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ImportError("needs `tensorflow-text`"), r"installed: .*tfdpm\[hub\].*tensorflow-text"),
        (FileNotFoundError("no tokenizer.json"), r"no tokenizer.json.*wanted an encoder of texts"),
        (ValueError("no subclass"), r"no subclass.*wanted an encoder of texts"),
    ],
)
def test_presets_whose_texts_cannot_be_prepared_are_told(error, message, backbone):
    def fail(_):
        raise error

    sys.modules["keras_hub"].models.TextClassifierPreprocessor.from_preset = fail
    with pytest.raises((ImportError, ValueError), match=message):
        pretrained("minilm")


def test_models_of_texts_have_no_image_size(backbone):
    with pytest.raises(ValueError, match="`image_size`: got 64, wanted None for a model of texts"):
        pretrained("minilm", image_size=64)


def test_the_package_that_a_package_lacks_is_named(tmp_path, monkeypatch):
    (tmp_path / "broken_hub.py").write_text("import not_there.part")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="`name`: got no not_there, wanted it installed"):
        checks.import_optional("broken_hub", "name", "hub")


@pytest.mark.parametrize("kind", ["Bert", "DistilBert", "Roberta"])
def test_text_presets_of_keras_hub_are_models(kind, tmp_path):
    hub = pytest.importorskip("keras_hub")
    folder = str(tmp_path / kind)
    backbone = getattr(hub.models, f"{kind}Backbone")(
        vocabulary_size=len(WORDS), num_layers=1, num_heads=2, hidden_dim=16,
        intermediate_dim=32, max_sequence_length=6,
    )  # fmt: skip
    backbone.save_to_preset(folder)
    vocabulary, ids = WORDS, [2, 5, 6, 3]
    options = {"lowercase": True}
    if kind == "Roberta":
        names = ["<s>", "<pad>", "</s>", "<mask>", *"balgo", "Ġ", "Ġg"]
        vocabulary = {name: i for i, name in enumerate(names)}
        ids, options = [0, *(vocabulary[each] for each in "ball"), 2], {"merges": ["Ġ g"]}
    getattr(hub.models, f"{kind}Tokenizer")(vocabulary, **options).save_to_preset(folder)
    model = pretrained(folder)
    inputs = {"token_ids": np.array([ids]), "padding_mask": np.ones((1, len(ids)), np.int32)}
    if kind == "Bert":
        inputs["segment_ids"] = np.zeros((1, len(ids)), np.int32)
    tokens = backbone(inputs)
    mean = np.mean((tokens["sequence_output"] if kind == "Bert" else tokens)[0], axis=0)
    texts = tf.constant(["ball" if kind == "Roberta" else "Ball goal", "ball " * 9, ""])
    np.testing.assert_allclose(model(texts)[0], mean / np.linalg.norm(mean), atol=1e-5)
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(again(texts), model(texts), atol=1e-6)
