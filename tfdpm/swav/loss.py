"""Loss of swapped prediction: each view predicts the codes of the other views of its image."""

from __future__ import annotations

import tensorflow as tf

from tfdpm import checks
from tfdpm.swav.normalization import summing_dtype


def swapped_prediction_loss(
    scores: tf.Tensor, codes: tf.Tensor, *, temperature: float = 0.1
) -> tf.Tensor:
    """Returns the mean cross entropy of the views' predictions with the codes of other views.

    Pairs of views are averaged, not summed, as in the published runs.

    Args:
        scores: embeddings of all views times prototypes, `[B, V, P]` floating.
        codes: codes of the first A views, `[B, A, P]` floating, A <= V; rows sum to one.
        temperature: temperature of the predictions, > 0.
    Returns:
        Scalar float32 in nats; `ln P` if all predictions are uniform.
    Raises:
        ValueError: if the shapes do not fit, there is one view only, or the temperature is bad.
    """
    temperature = checks.number(temperature, "temperature", above=0.0)
    num_views, num_assigning = scores.shape[1], codes.shape[1]
    if scores.shape.rank != 3 or codes.shape.rank != 3 or scores.shape[2] != codes.shape[2]:
        checks.fail("codes", f"shape {codes.shape}", f"[B, A, P] beside scores {scores.shape}")
    if num_views < 2 or num_assigning > num_views:
        checks.fail("scores", f"{num_views} views", f"at least 2 and at least {num_assigning}")
    scores = tf.cast(scores, summing_dtype(scores.dtype))
    # loss = mean over n, a and v != a of -sum_p codes[n, a, p] log softmax(scores[n, v] / t)[p],
    # [SwAV] equation 2 and section 3.2 on multi-crop.
    log_predictions = tf.nn.log_softmax(scores / temperature, axis=-1)
    codes = tf.stop_gradient(tf.cast(codes, scores.dtype))
    agreement = tf.einsum("bap,bvp->bav", codes, log_predictions)
    is_other_view = 1.0 - tf.eye(num_assigning, num_views, dtype=scores.dtype)
    total = tf.reduce_sum(tf.reduce_mean(agreement, axis=0) * is_other_view)
    return -total / (num_assigning * (num_views - 1))
