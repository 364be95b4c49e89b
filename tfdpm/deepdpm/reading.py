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
) -> Iterator[tuple[np.ndarray, Any]]:
    """Yields features `[B, D]` and labels `[B]`, or `None`, slice by slice.

    Arrays are cut into slices of at most so many rows; streams have slices of their own.
    """
    labels, start = inputs.labels, 0
    if inputs.array is None:
        with reading():
            for batch in inputs.labelled_dataset or inputs.dataset:
                batch, known = batch if isinstance(batch, tuple) else (batch, None)
                stop = start + len(batch)
                if known is not None:
                    known = known.numpy()
                elif labels is not None:
                    known = labels[start:stop]
                yield preprocessing(encode_rows(batch, encoder)).numpy(), known
                start = stop
        return
    if encoder is not None:
        rows = min(rows, encoding_rows(inputs.feature_shape))
    for start in range(0, len(inputs.array), rows):
        chosen = slice(start, start + rows)
        piece = np.asarray(encode_rows(inputs.array[chosen], encoder))
        yield preprocessing.transform(piece), None if labels is None else labels[chosen]
