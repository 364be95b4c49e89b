"""Image files as pixels, turned upright as their EXIF orientation says."""

from __future__ import annotations

import tensorflow as tf

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
if hasattr(tf.io, "decode_webp"):  # of newer TensorFlow
    IMAGE_SUFFIXES += (".webp",)
_EXIF_BYTES = 2**16  # in which programs put EXIF at the beginning, of WebP at the end
# The entry 0x0112 of the first directory, whose entries of 12 bytes follow the header and a count.
# https://www.cipa.jp/std/documents/e/DC-008-2012_E.pdf, 4.6.4
_ORIENTATION = (
    r"\C*?(?:Exif\x00\x00|eXIf|EXIF\C{4})(?:"
    r"MM\x00\*\x00\x00\x00\x08\C\C(?:\C{12}){0,15}?\x01\x12\x00\x03\x00\x00\x00\x01\x00([\x01-\x08])"
    r"|II\*\x00\x08\x00\x00\x00\C\C(?:\C{12}){0,15}?\x12\x01\x03\x00\x01\x00\x00\x00([\x01-\x08])"
    r")\C*"
)


def decode_image(encoded: tf.Tensor, channels: int = 0) -> tf.Tensor:
    """Pixels `[H, W, C]` uint8 of an encoded image of `IMAGE_SUFFIXES` (first frame), upright.

    Args:
        encoded: the bytes of a file, a scalar string.
        channels: 1 or 3; 0 keeps those of the file.
    """
    image = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
    place = orientation(encoded)
    return tf.cond(tf.equal(place, 1), lambda: image, lambda: _turn(image, place))


def orientation(encoded: tf.Tensor) -> tf.Tensor:
    """Orientation of an encoded image by EXIF, from 1 (upright) to 8; 1 where it has none."""
    is_webp = tf.equal(tf.strings.substr(encoded, 0, 4), "RIFF")
    at_end = tf.maximum(tf.strings.length(encoded) - _EXIF_BYTES, 0)
    part = tf.strings.substr(encoded, tf.where(is_webp, at_end, 0), _EXIF_BYTES)
    found = tf.strings.regex_replace(part, _ORIENTATION, r"\1\2", replace_global=False)
    is_found = tf.equal(tf.strings.length(found), 1)
    byte = tf.where(is_found, found, "\x01")
    return tf.cast(tf.io.decode_raw(byte, tf.uint8)[0], tf.int32)


def _turn(image: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """The image with its rows and columns where they belong."""
    image = tf.cond(place > 4, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    is_upside_down = tf.reduce_any(tf.equal(place, [3, 4, 7, 8]))
    is_mirrored = tf.reduce_any(tf.equal(place, [2, 3, 6, 7]))
    return tf.raw_ops.Reverse(tensor=image, dims=tf.stack([is_upside_down, is_mirrored, False]))
