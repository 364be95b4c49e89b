"""Raw points as a fitted model reads them: through its encoder and preprocessing to features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from tfdpm.data.inputs import Inputs
from tfdpm.data.streams import reading
from tfdpm.features.apply_encoder import encode_rows, encoding_rows
from tfdpm.features.preprocessing import Preprocessing

ROWS_AT_ONCE = 16_384  # unless the caller says otherwise


def read_features(
    inputs: Inputs, encoder: keras.Model | None, preprocessing: Preprocessing, rows: int
) -> Iterator[tuple[np.ndarray, Any, Any]]:
    """Yields features `[B, D]`, labels `[B]` and weights `[B]`, or `None`, slice by slice.

    Arrays are cut into slices of at most so many rows; streams have slices of their own.
    """
    labels, weighted, start = inputs.labels, inputs.weighted_dataset, 0
    if inputs.array is None:
        with reading():
            for batch in weighted or inputs.labelled_dataset or inputs.dataset:
                batch, *others = batch if isinstance(batch, tuple) else (batch,)
                weights = None if weighted is None else others.pop(0).numpy()
                stop, known = start + len(batch), None
                if others:
                    known = others[0].numpy()
                elif labels is not None:
                    known = labels[start:stop]
                yield preprocessing(encode_rows(batch, encoder)).numpy(), known, weights
                start = stop
        return
    if encoder is not None:
        rows = min(rows, encoding_rows(inputs.feature_shape))
    for start in range(0, len(inputs.array), rows):
        chosen = slice(start, start + rows)
        piece = np.asarray(encode_rows(inputs.array[chosen], encoder))
        known = (None if part is None else part[chosen] for part in (labels, inputs.weights))
        yield preprocessing.transform(piece), *known
