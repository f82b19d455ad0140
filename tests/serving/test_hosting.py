"""Which device is asked about a variant: its own, where it is pinned to one."""

from pathlib import Path

import pytest

from sloctl.engines import loading
from sloctl.serving.hosting import EngineHosting


@pytest.mark.parametrize(("variant", "device"), [("fp32", "cuda:0"), ("int8", "cuda:1")])
def test_health_asks_about_the_device_that_the_variant_is_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str, device: str
):
    for name in ("check_device", "check_monitoring", "free_memory"):
        monkeypatch.setattr(loading, name, lambda asked: asked)
    hosting = EngineHosting("cuda:0", "auto", tmp_path, {("m", "int8"): "cuda:1"})
    for folder in (Path("m", variant), tmp_path / "repository" / "m" / variant):
        asked = (hosting.check_device(folder), hosting.check_monitoring(folder), hosting.free_memory(folder))
        assert asked == (device, device, device)
