"""What TensorFlow Serving is sent and answers: its messages, the printed clients, the tools.

The server stands in for TensorFlow Serving: it speaks gRPC by the messages and the service of
`tensorflow-serving-api`, and REST as its documentation has it, on top of the exported folder.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.serving.conftest import X

grpc = pytest.importorskip("grpc")
apis = pytest.importorskip("tensorflow_serving.apis")
from tensorflow_serving.apis import (  # noqa: E402
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

SERVING = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")


def printed_client(name):
    """A client as the documentation prints it."""
    blocks = re.findall(r"```python\n(.*?)```", SERVING, flags=re.DOTALL)
    (block,) = (block for block in blocks if f"def {name}(" in block)
    names: dict = {}
    exec(compile(block, "serving.md", "exec"), names)
    return names[name]


# -- gRPC -----------------------------------------------------------------------------------------


class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, signatures):
        self.signatures = signatures

    def Predict(self, request, context):  # noqa: N802
        function = self.signatures[request.model_spec.signature_name or "serving_default"]
        inputs = {name: tf.make_ndarray(each) for name, each in request.inputs.items()}
        expected = function.structured_input_signature[1]
        if set(inputs) != set(expected):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"wanted {set(expected)}")
        response = predict_pb2.PredictResponse()
        response.model_spec.CopyFrom(request.model_spec)
        outputs = function(**{name: tf.constant(each) for name, each in inputs.items()})
        for name in request.output_filter or outputs:
            response.outputs[name].CopyFrom(tf.make_tensor_proto(outputs[name].numpy()))
        return response


@pytest.fixture(scope="module")
def grpc_address(signatures):
    server = grpc.server(futures.ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(signatures), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    yield f"localhost:{port}"
    server.stop(0)


def test_printed_grpc_client_gets_the_models_labels(model, grpc_address):
    labels = printed_client("ask_grpc")(X, grpc_address)
    np.testing.assert_array_equal(labels, model.predict_labels(X))


def test_predict_request_and_response_survive_the_wire(model, grpc_address):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "demo", "serving_default"
    request.inputs["inputs"].CopyFrom(tf.make_tensor_proto(X))
    request.output_filter.extend(["log_density", "outlier_p"])
    with grpc.insecure_channel(grpc_address) as channel:
        answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request)
    assert set(answer.outputs) == {"log_density", "outlier_p"}
    density = tf.make_ndarray(answer.outputs["log_density"])
    np.testing.assert_allclose(density, model.score_samples(X), rtol=1e-5)


def test_warmup_requests_are_messages_of_serving_that_the_model_answers(exported, signatures):
    path = exported / "assets.extra" / "tf_serving_warmup_requests"
    for rows, record in zip((1, 64), tf.data.TFRecordDataset(str(path)), strict=True):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        assert request.model_spec.name == "demo"
        function = signatures[request.model_spec.signature_name]
        inputs = {name: tf.make_ndarray(each) for name, each in request.inputs.items()}
        outputs = function(**{name: tf.constant(each) for name, each in inputs.items()})
        assert outputs["labels"].shape == (rows,)


# -- REST -----------------------------------------------------------------------------------------


def answered(signatures, body):
    """The documented JSON: rows in, rows out (or columns both), tensors as nested lists."""
    content = json.loads(body)
    function = signatures[content.get("signature_name", "serving_default")]
    given = content["instances"] if "instances" in content else content["inputs"]
    outputs = function(inputs=tf.constant(given, tf.float32))
    lists = {name: each.numpy().tolist() for name, each in outputs.items()}
    if "inputs" in content:
        return {"outputs": lists if len(lists) > 1 else next(iter(lists.values()))}
    # By rows all outputs must have the batch as their first axis.
    assert {len(each) for each in lists.values()} == {len(given)}
    rows = [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    return {"predictions": rows if len(lists) > 1 else next(iter(lists.values()))}


@pytest.fixture(scope="module")
def rest_address(signatures):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):  # noqa: N802
            assert self.path == "/v1/models/groups:predict"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = json.dumps(answered(signatures, body), allow_nan=False).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("localhost", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"localhost:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_printed_rest_client_gets_a_dictionary_for_each_point(model, rest_address):
    answers = printed_client("ask_rest")(X, rest_address)
    assert len(answers) == len(X)
    wanted = {"labels", "responsibilities", "log_density", "outlier_p"}
    assert all(set(answer) == wanted for answer in answers)
    assert all(type(answer["labels"]) is int for answer in answers)
    labels = [answer["labels"] for answer in answers]
    np.testing.assert_array_equal(labels, model.predict_labels(X))
    shares = [answer["responsibilities"] for answer in answers]
    np.testing.assert_allclose(shares, model.predict(X), atol=1e-5)


def test_columns_and_other_signatures_are_answered(model, signatures):
    body = json.dumps({"signature_name": "embed", "inputs": {"inputs": X.tolist()}["inputs"]})
    np.testing.assert_allclose(answered(signatures, body)["outputs"], model.embed(X), atol=1e-5)
    body = json.dumps({"signature_name": "labels", "instances": X[:2].tolist()})
    assert set(answered(signatures, body)["predictions"][0]) == {"labels", "responsibilities"}


# -- saved_model_cli ------------------------------------------------------------------------------

CLI = shutil.which("saved_model_cli", path=str(Path(sys.executable).parent))


@pytest.mark.skipif(CLI is None, reason="needs saved_model_cli beside this Python")
def test_saved_model_cli_shows_and_runs_every_signature(model, exported, tmp_path):
    which = ["--dir", str(exported), "--tag_set", "serve"]
    shown = subprocess.run(
        [CLI, "show", *which, "--signature_def", "serving_default"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert shown.returncode == 0, shown.stderr
    assert (
        "inputs['inputs'] tensor_info:\n      dtype: DT_FLOAT\n      shape: (-1, 4)" in shown.stdout
    )
    for name in ("labels", "responsibilities", "log_density", "outlier_p"):
        assert f"outputs['{name}'] tensor_info" in shown.stdout
    np.save(tmp_path / "x.npy", X)
    arguments = ["--inputs", f"inputs={tmp_path}/x.npy", "--outdir", str(tmp_path)]
    ran = subprocess.run(
        [CLI, "run", *which, "--signature_def", "labels", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "labels.npy"), model.predict_labels(X))
