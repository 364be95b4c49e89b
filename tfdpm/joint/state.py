"""How far a joint training has come, as a value that is saved with the model."""

from __future__ import annotations

import dataclasses
import json

import keras
import numpy as np

from tfdpm.joint.refinement import Losses


@dataclasses.dataclass(frozen=True)
class JointState:
    """What a joint training has done so far.

    Attributes:
        feature_shape: shape of one raw point.
        is_pretrained: whether the autoencoder has been pretrained.
        losses: losses of the autoencoder's last epoch of pretraining.
        rounds: K, losses and scores of each round.
        fingerprint: text that stands for data, settings and seed.
        labels: `[N]` int64 clusters of the last round.
    """

    feature_shape: tuple[int, ...] = ()
    is_pretrained: bool = False
    losses: Losses = Losses(0.0, 0.0)
    rounds: tuple[dict[str, float], ...] = ()
    fingerprint: str = ""
    labels: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The state as arrays that Keras can save."""
        values = dict(vars(self))
        labels, text = values.pop("labels"), json.dumps(values).encode()
        return {"labels": labels, "progress": np.frombuffer(text, np.uint8)}

    @classmethod
    def from_arrays(cls, arrays) -> JointState:
        """The state that `to_arrays` was asked for."""
        values = json.loads(np.array(arrays["progress"]).tobytes())
        values |= {name: tuple(values[name]) for name in ("feature_shape", "rounds")}
        values["losses"] = Losses(*values["losses"])
        return cls(**values, labels=np.array(arrays["labels"]).astype(np.int64))

    def history(self) -> keras.callbacks.History:
        """Keras's `History` of the rounds."""
        history = keras.callbacks.History()
        history.epoch = list(range(len(self.rounds)))
        names = self.rounds[-1] if self.rounds else ()
        history.history = {name: [logs.get(name) for logs in self.rounds] for name in names}
        return history

    def is_stable(self, patience: int | None) -> bool:
        """Whether K has been the same for so many further rounds; never where it is `None`."""
        counts = [logs["n_clusters"] for logs in self.rounds]
        if patience is None or len(counts) <= patience:
            return False
        return len(set(counts[-patience - 1 :])) == 1
