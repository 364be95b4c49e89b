"""ImageNet's 50 classes on which deep clusterings are compared, and the selection of classes.

The owners give the tar files, which TensorFlow Datasets reads, to registered users only.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

IMAGE_SIZE = 224  # side in pixels of the images that published encoders take

# WordNet numbers of ImageNet-50 [SCAN], the subset of [DeepDPM] section 5.2.
IMAGENET_50 = tuple(
    "n" + number
    for number in (
        "01601694 01669191 01755581 01770393 01855672 02018207 02058221 02096177 02097130 02099267 "
        "02100877 02104365 02106030 02114855 02125311 02133161 02484975 02489166 02747177 02906734 "
        "03124170 03272010 03337140 03483316 03498962 03710721 03717622 03733281 03759954 03775071 "
        "03814639 03837869 03838899 03854065 03954731 03983396 04026417 04200800 04209239 04311004 "
        "04380533 04428191 04443257 04509417 04525305 04554684 04606251 07583066 07711569 07753592"
    ).split()
)

# Classes of each data set; None stands for all classes.
CLASSES: dict[str, tuple[str, ...] | None] = {"imagenet": None, "imagenet50": IMAGENET_50}


def keep_classes(
    dataset: tf.data.Dataset, names: Sequence[str], classes: Sequence[str]
) -> tf.data.Dataset:
    """Keeps pairs `(image, position in names)` of some classes, numbered from 0 in their order."""
    numbers = [-1] * len(names)
    for number, name in enumerate(classes):
        numbers[list(names).index(name)] = number
    renumbered = tf.constant(numbers, tf.int64)
    dataset = dataset.map(lambda image, label: (image, tf.gather(renumbered, label)))
    return dataset.filter(lambda _, label: label >= 0)
