"""What a folder from a stranger holds, checked before TensorFlow loads or runs any of it.

A SavedModel is a program: its operations can read and write files, open connections and call
Python, some of them while it is loaded. A served mixture needs none of these. Checksums do not help
here, since whoever made the folder made them too.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import saved_model_pb2

# Arithmetic on tensors that a call is given or that the folder holds: what our exports use, and
# what layers of Keras's encoders become. None touches a file, a device, the network or Python.
_ARITHMETIC = frozenset(
    """
    Abs Add AddN AddV2 All Any ArgMax ArgMin AssignVariableOp Atan Atan2 AvgPool AvgPool3D
    BatchMatMul BatchMatMulV2 BatchMatMulV3 BatchToSpaceND BiasAdd BiasAddV1 BroadcastTo Cast Ceil
    CheckNumerics ClipByValue ConcatV2 Const Conv2D Conv2DBackpropInput Conv3D Conv3DBackpropInputV2
    Cos Cumsum DepthToSpace DepthwiseConv2dNative DisableCopyOnRead DivNoNan Einsum Elu EnsureShape
    Equal Erf Erfc Exp ExpandDims Expm1 Fill Floor FloorDiv FloorMod FusedBatchNormV3 GatherNd
    GatherV2 Greater GreaterEqual Identity IdentityN Imag IsFinite IsInf IsNan LRN LeakyRelu Less
    LessEqual Log Log1p LogSoftmax LogicalAnd LogicalNot LogicalOr MatMul Max MaxPool MaxPool3D
    MaxPoolV2 Maximum Mean Min Minimum MirrorPad Mul MulNoNan Neg NoOp NotEqual OneHot OnesLike Pack
    Pad PadV2 PartitionedCall Placeholder PlaceholderWithDefault Pow Prod Range Rank ReadVariableOp
    Real RealDiv Reciprocal Relu Relu6 Reshape ResizeArea ResizeBicubic ResizeBilinear
    ResizeNearestNeighbor ResourceGather ResourceGatherNd ReverseV2 Round Rsqrt Select SelectV2 Selu
    Shape ShapeN Sigmoid Sign Sin Size Slice Softmax Softplus Softsign SpaceToBatchND SpaceToDepth
    Split SplitV Sqrt Square SquaredDifference Squeeze StatefulPartitionedCall StopGradient
    StridedSlice Sub Sum Tan Tanh Tile TopKV2 Transpose Unpack VarHandleOp VarIsInitializedOp Where
    Xdivy Xlog1py Xlogy ZerosLike
    """.split()
)
# What TensorFlow writes beside them to save and restore variables, in functions of its own that
# neither another function nor an object calls.
_SAVING = frozenset(
    """
    MergeV2Checkpoints RestoreV2 SaveV2 ShardedFilename StaticRegexFullMatch StringJoin
    """.split()
)
_OBJECTS = frozenset(
    """
    _generic_user_object signature_map trackable_dict_wrapper trackable_list_wrapper
    trackable_tuple_wrapper
    """.split()
)
_OBJECT_KINDS = frozenset(
    "user_object variable constant captured_tensor function bare_concrete_function".split()
)
_OBJECT_NAMES = ("", "tf.TrackableConstant")
_FILES = re.compile(
    r"model_card\.json|saved_model\.pb|fingerprint\.pb|variables/variables\.index"
    r"|variables/variables\.data-\d{5}-of-\d{5}|assets\.extra/tf_serving_warmup_requests"
)
_MOST_ELEMENTS = 2**28  # of a constant, which a file of a few bytes can ask for
_MOST_VALUES = 2**24  # of one point, of one row of features, and of clusters


def graph_faults(folder: Path) -> Iterator[str]:
    """What a SavedModel holds that no export of ours does, in words."""
    faults = list(_file_faults(folder))
    if faults:  # reading on might never end
        yield from faults
        return
    try:
        saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        (meta_graph,) = saved.meta_graphs
    except (OSError, DecodeError, ValueError):
        yield "a saved_model.pb that cannot be read"
        return
    objects, library = meta_graph.object_graph_def, meta_graph.graph_def.library
    if meta_graph.asset_file_def or not objects.nodes:
        yield "files that its graph reads, or a graph of TensorFlow 1"
    for node in objects.nodes:
        kind, identifier = node.WhichOneof("kind"), node.user_object.identifier
        is_known = kind in _OBJECT_KINDS and (kind != "user_object" or identifier in _OBJECTS)
        if not is_known or node.registered_saver or node.registered_name not in _OBJECT_NAMES:
            yield f"an object of kind {identifier or node.registered_name or kind}"
    yield from _node_faults(meta_graph.graph_def.node, _ARITHMETIC)
    # Calls by an attribute of any depth, an operation's name, an object or a gradient.
    mentions = objects.SerializeToString() + library.SerializeToString()
    for function in library.function:
        is_called = mentions.count(function.signature.name.encode()) > 1
        yield from _node_faults(
            function.node_def, _ARITHMETIC if is_called else _ARITHMETIC | _SAVING
        )


def _file_faults(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            yield f"a link {name}"
        elif not path.is_dir() and not (path.is_file() and _FILES.fullmatch(name)):
            yield f"a file {name}"


def _node_faults(nodes: Iterable[graph_pb2.NodeDef], known: frozenset[str]) -> Iterator[str]:
    for node in nodes:
        if node.op not in known:
            yield f"the operation {node.op}"
        elements = 1
        for axis in node.attr["value"].tensor.tensor_shape.dim if "value" in node.attr else ():
            elements *= axis.size
        if not 0 <= elements <= _MOST_ELEMENTS:
            yield f"a constant of {elements} numbers"


def card_faults(card: Any, form: str) -> Iterator[str]:
    """What is wrong with a model card, as values of an unknown source, in words."""
    needed = ("format", "input_shape", "feature_dim", "n_clusters", "files")
    if not isinstance(card, dict) or not all(name in card for name in needed):
        yield f"without one of {', '.join(needed)}"
        return
    if card["format"] != form:
        yield f"of format {card['format']!r}, not {form!r}"
        return
    shape, count = card["input_shape"], card["n_clusters"]
    if not isinstance(shape, list) or not 1 <= len(shape) <= 8 or not all(map(_is_count, shape)):
        yield f"with the input_shape {shape!r}"
    for name in ("feature_dim", "n_clusters"):
        if not _is_count(card[name]):
            yield f"with {name} {card[name]!r}"
            return
    joined = card.get("cluster_of_component", list(range(count)))
    is_list = isinstance(joined, list) and all(type(each) is int for each in joined)
    if not is_list or sorted(set(joined)) != list(range(count)):
        yield f"whose cluster_of_component does not name {count} clusters"
    elif card.get("n_components", len(joined)) != len(joined):
        yield f"with n_components {card['n_components']!r}, not {len(joined)}"
    files = card["files"]
    if not isinstance(files, dict) or "saved_model.pb" not in files:
        yield "without a checksum of saved_model.pb"


def _is_count(value: Any) -> bool:
    return type(value) is int and 1 <= value <= _MOST_VALUES


def sign(card: Mapping[str, Any], key: bytes) -> str:
    """HMAC-SHA-256 of a card, and so of the checksums in it, but for its own entry `signature`."""
    rest = {name: value for name, value in card.items() if name != "signature"}
    return hmac.new(key, json.dumps(rest, sort_keys=True).encode(), "sha256").hexdigest()
