"""Shared memory as Triton's own client uses it, against a daemon in processes of its own."""

import os
import re
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from running_daemon import SLOS, until
from tritonclient.utils import shared_memory as shm

from sloctl.engines.loading import cpu_name
from sloctl.engines.manifest import write_manifest
from sloctl.engines.measure import make_manifest
from sloctl.engines.onnx import OnnxEngine

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
ROWS = np.arange(32, dtype=np.float32).reshape(2, 16)
SIZE = ROWS.nbytes


@pytest.fixture
def client(shared):
    made = triton.InferenceServerClient(f"127.0.0.1:{shared().serving}", concurrency=2)
    yield made
    made.unregister_system_shared_memory()
    made.close()


@contextmanager
def region(client, name="r", size=2 * SIZE):
    """A registered region whose first half holds the inputs."""
    key = f"sloctl-test-{os.getpid()}-{name}"
    memory = shm.create_shared_memory_region(name, key, size)
    try:
        shm.set_shared_memory_region(memory, [ROWS])
        client.register_system_shared_memory(name, key, size)
        yield memory
    finally:
        shm.destroy_shared_memory_region(memory)


def asked(name="r"):
    given = triton.InferInput("x", [2, 16], "FP32")
    given.set_shared_memory(name, SIZE)
    wanted = triton.InferRequestedOutput("y")
    wanted.set_shared_memory(name, SIZE, offset=SIZE)
    return {"model_name": "tiny", "inputs": [given], "outputs": [wanted]}


def written(memory):
    return shm.get_contents_as_numpy(memory, np.float32, (2, 16), offset=SIZE)


def test_tritons_client_finds_it_and_gets_equal_results(client):
    extensions = client.get_server_metadata()["extensions"]
    assert {"system_shared_memory", "cuda_shared_memory"} <= set(extensions)
    with region(client) as memory:
        (status,) = client.get_system_shared_memory_status()
        assert (status["name"], status["offset"], status["byte_size"]) == ("r", 0, 2 * SIZE)
        output = client.infer(**asked()).get_output("y")
        assert (output["shape"], output["parameters"]["shared_memory_byte_size"]) == ([2, 16], SIZE)
        assert "data" not in output
        by_http = triton.InferInput("x", [2, 16], "FP32")
        by_http.set_data_from_numpy(ROWS)
        plain = client.infer("tiny", [by_http]).as_numpy("y")
        np.testing.assert_array_equal(written(memory), plain)
        np.testing.assert_array_equal(plain, ROWS * 2)
        client.unregister_system_shared_memory("r")
        assert client.get_system_shared_memory_status() == []
        with pytest.raises(triton.InferenceServerException, match="no shared memory region 'r'"):
            client.infer(**asked())


def test_several_requests_in_flight_each_get_their_own(client):
    with region(client, "a") as one, region(client, "b") as other:
        pending = [client.async_infer(**asked(name)) for name in "ab" * 20]
        for each in pending:
            each.get_result()
        for memory in (one, other):
            np.testing.assert_array_equal(written(memory), ROWS * 2)


def test_mistakes_are_told(client):
    with region(client), pytest.raises(triton.InferenceServerException, match="registered already"):
        client.register_system_shared_memory("r", "whatever", 1)
    with pytest.raises(triton.InferenceServerException, match="no such file"):
        client.register_system_shared_memory("s", "sloctl-test-absent", 16)
    with pytest.raises(triton.InferenceServerException, match=r"the models run on the CPU"):
        client.register_cuda_shared_memory("c", "AAAA", 0, 16)
    assert client.get_cuda_shared_memory_status() == []


def test_registrations_survive_a_data_plane_that_is_killed(daemon):
    served = daemon()
    with triton.InferenceServerClient(f"127.0.0.1:{served.serving}") as client, region(client) as memory:
        client.infer(**asked())
        written(memory)[...] = 0
        before = client.get_system_shared_memory_status()
        os.kill(served.pid("data"), signal.SIGKILL)
        until(lambda: served.get("/health/ready")[0] == 503, 3, "not ready meanwhile")
        served.wait_ready(20)
    with triton.InferenceServerClient(f"127.0.0.1:{served.serving}") as client:
        assert client.get_system_shared_memory_status() == before
        with pytest.raises(triton.InferenceServerException, match="no such file"):
            client.infer(**asked())  # the client's memory is gone, the registration is not
        client.unregister_system_shared_memory("r")
        with region(client) as memory:
            client.infer(**asked())
            np.testing.assert_array_equal(written(memory), ROWS * 2)


def test_what_was_registered_is_used_after_a_restart_without_doing_it_again(daemon):
    served = daemon()
    with triton.InferenceServerClient(f"127.0.0.1:{served.serving}") as client, region(client) as memory:
        os.kill(served.pid("data"), signal.SIGKILL)
        until(lambda: served.get("/health/ready")[0] == 503, 3, "not ready meanwhile")
        served.wait_ready(20)
        with triton.InferenceServerClient(f"127.0.0.1:{served.serving}") as again:
            again.infer(**asked())
        np.testing.assert_array_equal(written(memory), ROWS * 2)


def test_the_example_of_the_docs_runs(daemon, tmp_path):
    folder = tmp_path / "digits-repository" / "digits" / "fp32"
    folder.mkdir(parents=True)
    model = Path(shutil.copy(ROOT / "examples/digits/digits_resnet.fp32.onnx", folder / "model.onnx"))
    engine = OnnxEngine(model, threads=1, max_batch=4)
    write_manifest(
        folder, make_manifest(model, engine, precision="fp32", runtime="onnxruntime", device_name=cpu_name())
    )
    models = [{"name": "digits", "variants": ["fp32"], "maxBatch": 4, "profile": {"interval": "0s"}}]
    slos = SLOS.replace("tiny", "digits")
    served = daemon(repository=str(folder.parents[1]), models=models, slos=slos, policies=[])
    page = (ROOT / "docs/reference/shared-memory.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert "127.0.0.1:8000" in example
    names = {}
    exec(example.replace("127.0.0.1:8000", f"127.0.0.1:{served.serving}"), names)
    direct = engine.infer({"image": names["images"]}).outputs["logits"]
    np.testing.assert_allclose(names["result"], direct, rtol=1e-4, atol=1e-5)
