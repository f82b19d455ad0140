"""GPU metrics of the daemon itself, as its configuration names them."""

import pytest
from running_daemon import request, until

pytestmark = pytest.mark.integration


def test_expected_gpus_and_dcgms_names_come_with_the_configuration(daemon):
    running = daemon(telemetry={"gpu": {"names": "both", "expected": 64}})
    until(lambda: "sloctl_gpus_expected" in {name for name, _ in running.metrics()}, 10, "the first reading")
    assert running.metric("sloctl_gpus_expected") == 64
    assert running.metric("sloctl_gpus_present") < 64
    exposition = request(running.control, "GET", "/metrics")[2].decode()
    assert "# TYPE DCGM_FI_DEV_GPU_TEMP gauge" in exposition
    assert "# TYPE sloctl_gpu_temperature_celsius gauge" in exposition
