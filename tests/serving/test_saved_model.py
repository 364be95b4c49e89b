"""The exported graph where there is no Python at all; the rest is in tests/test_export.py."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
import warnings
from concurrent import futures
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import tfdpm
from tests.serving.conftest import X
from tfdpm.serving import saved_model as serving

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
LIBRARIES = Path(tf.sysconfig.get_lib())


def names_in_graph(folder: Path) -> tuple[str, str, str]:
    """Operation of the input; operation and index of the labels."""
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    signature = saved.meta_graphs[0].signature_def["serving_default"]
    source = signature.inputs["inputs"].name.partition(":")[0]
    return source, *signature.outputs["labels"].name.split(":")


@pytest.mark.skipif(COMPILER is None, reason="needs a C compiler")
def test_c_library_runs_the_exported_model(model, exported, tmp_path):
    libraries = sorted(LIBRARIES.glob("libtensorflow_*.so*"))
    if len(libraries) < 2:
        pytest.skip("TensorFlow's shared libraries are not where they can be linked")
    program = tmp_path / "client"
    source = Path(__file__).with_name("serving_client.c")
    flags = [f"-I{tf.sysconfig.get_include()}", f"-Wl,-rpath,{LIBRARIES}"]
    command = [COMPILER, str(source), *flags, *map(str, libraries), "-o", str(program)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stderr
    X.tofile(tmp_path / "points")
    arguments = [*names_in_graph(exported), str(tmp_path / "points"), "200", "4"]
    result = subprocess.run(
        [str(program), str(exported), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    labels = np.array(result.stdout.split(), int)
    np.testing.assert_array_equal(labels, model.predict_labels(X))


def test_checksums_notice_every_change_but_that_of_the_card(tmp_path):
    (tmp_path / "variables").mkdir()
    (tmp_path / "variables" / "data").write_bytes(b"12")
    (tmp_path / serving.CARD_NAME).write_text("{}")
    before = serving.checksums(tmp_path)
    assert list(before) == ["variables/data"]
    (tmp_path / serving.CARD_NAME).write_text("[]")
    assert serving.checksums(tmp_path) == before
    (tmp_path / "variables" / "data").write_bytes(b"13")
    assert serving.checksums(tmp_path) != before
    (tmp_path / "more").write_bytes(b"")
    assert len(serving.checksums(tmp_path)) == 2


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (np.zeros([4], np.float32), r"Shape of tensor inputs \[4\] is not compatible .*\[\?,4\]"),
        (np.zeros([2, 3], np.float32), r"inputs \[2,3\] is not compatible with .*\[\?,4\]"),
        (np.zeros([2, 2, 2], np.float32), r"inputs \[2,2,2\] is not compatible with"),
        (np.full([2, 4], np.nan, np.float32), r"`inputs`: wanted points \[B, 4\].*had NaN"),
        (np.full([2, 4], np.inf, np.float32), r"`inputs`: wanted points \[B, 4\].*had Inf"),
        (np.zeros([2, 4]), "expected to be a float tensor but is a double tensor"),
        (np.zeros([2, 4], np.int32), "expected to be a float tensor but is a int32 tensor"),
    ],
    ids=str,
)
def test_graph_alone_names_what_is_wrong_with_points(signatures, points, said):
    for name, signature in signatures.items():
        with pytest.raises(tf.errors.InvalidArgumentError, match=said):
            signature(inputs=tf.constant(points))
        assert name in ("serving_default", "labels", "embed")


def megabytes() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_server_under_load_answers_all_and_its_memory_stays(signatures):
    """Four clients for two seconds after one to warm up; the figures are printed with -s."""
    signature, wanted = signatures["labels"], {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):  # noqa: N802
            rows = np.frombuffer(self.rfile.read(int(self.headers["Content-Length"])), np.float32)
            labels = signature(inputs=tf.constant(rows.reshape(-1, 4)))["labels"].numpy().tobytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(labels)))
            self.end_headers()
            self.wfile.write(labels)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sizes = (1, 16, 100)
    for rows in sizes:
        wanted[rows] = signature(inputs=tf.constant(X[:rows]))["labels"].numpy()

    def ask(seconds: float) -> list[tuple[int, float]]:
        connection, found = HTTPConnection("127.0.0.1", server.server_port, timeout=30), []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            rows = sizes[len(found) % len(sizes)]
            start = time.perf_counter()
            connection.request("POST", "/", X[:rows].tobytes())
            labels = np.frombuffer(connection.getresponse().read(), np.int64)
            found.append((rows, time.perf_counter() - start))
            np.testing.assert_array_equal(labels, wanted[rows])
        connection.close()
        return found

    try:
        with futures.ThreadPoolExecutor(4) as clients:
            list(clients.map(ask, [1.0] * 4))
            before = megabytes()
            answers = sum(clients.map(ask, [2.0] * 4), [])
        grown = megabytes() - before
    finally:
        server.shutdown()
        server.server_close()
    times = 1e3 * np.array([each for _, each in answers])
    print(
        f"{sum(rows for rows, _ in answers) / 2.0:,.0f} rows/s, {len(answers) / 2.0:,.0f} "
        f"requests/s, 99th percentile {np.percentile(times, 99):.1f} ms, {grown:.1f} MB more"
    )
    assert len(answers) > 40 and grown < 20.0


@pytest.mark.parametrize(("offset", "is_told"), [(0.0, False), (1e4, False), (1e8, True)])
def test_inputs_that_float32_cannot_tell_apart_are_told_at_export(offset, is_told, tmp_path):
    model = tfdpm.DeepDPM(tfdpm.DeepDPMConfig(min_steps_per_epoch=5), seed=0)
    model.fit(X.astype(np.float64) + offset, epochs=1, verbose=0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model.export(tmp_path / "1")
    assert any("float32, whose steps" in str(each.message) for each in said) == is_told
