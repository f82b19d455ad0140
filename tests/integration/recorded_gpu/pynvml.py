"""Stands in for pynvml where a daemon runs without a GPU: the recorded one, in two MIG instances, with a life.

Put its folder before site-packages (PYTHONPATH) and the daemon's NVML reader meets it at the boundary. Each second is
one of an idle GPU's or of a loaded one's, in turns; counters rise, and now and then something goes wrong.
"""

import importlib.util
import time
from pathlib import Path

_path = Path(__file__).parents[2] / "exporters" / "fake_nvml.py"
_spec = importlib.util.spec_from_file_location("fake_nvml", _path)
_fake = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fake)

_GIB = 2**30
_COUNTED = (3, 6, 94, 138, 139, 143)  # nvml.h: ECC errors, PCIe replays, NVLink bytes, remapped rows
_HELD = (74, 76, 269, 270, 271)  # time that clocks were held, in nanoseconds
_STATES = (144, 145, 230)  # remapping pending and failed, recovery action
_HW_SLOWDOWN = 0x8


class _Living(_fake.FakeNvml):
    def __init__(self):
        super().__init__()
        self.began, self.age = time.monotonic(), -1
        self.first_energy = self.energy
        self.pages = 0
        self.instances = [_fake.Instance(n, "NVIDIA H200 MIG 3g.71gb", f"MIG-{n}", n * _GIB, 71 * _GIB) for n in (1, 2)]

    def nvmlDeviceGetFieldValues(self, handle, wanted):  # noqa: N802
        self._live(int(time.monotonic() - self.began))
        return super().nvmlDeviceGetFieldValues(handle, wanted)

    def _live(self, age):
        if age == self.age:
            return
        self.age, self.pages = age, age
        self.answers = _fake.RECORDED["load" if age % 2 else "idle"]
        self.reasons = _HW_SLOWDOWN if age % 3 == 0 else 1
        self.energy = self.first_energy + 80_000 * age
        self.fields = dict.fromkeys(_COUNTED, (age, 0))
        self.fields |= dict.fromkeys(_HELD, (age * 100000000, 0))
        self.fields |= dict.fromkeys(_STATES, (age // 4 % 2, 0))
        # A GPU takes turns with slow fields, which must not find one of them unsupported.
        self.fields |= {82: (40 + age % 5, 0), 186: (100_000 + 1000 * (age % 7), 0), 190: (700_000, 0)}
        self.gpm = {number: (float(age % 50), 0) for number in (1, 2, 3, 4, 5, 10, 11, 12, 13, 20, 21, 60, 61)}
        for instance in self.instances:
            instance.used = (age % 10 + instance.gpu_instance) * _GIB
        self.broken = {"nvmlDeviceGetEncoderUtilization": _fake.NVMLError(999)} if age % 5 == 4 else {}
        if age % 4 == 1:
            self.events.append((0, 79 if age % 8 == 1 else 31))

    def _answer(self, name, handle, *arguments):
        if name == "nvmlDeviceGetRetiredPages":  # as a GPU before Ampere has them
            return [0] * (self.pages // 5)
        return super()._answer(name, handle, *arguments)


_nvml = _Living()


def __getattr__(name):
    return getattr(_nvml, name)
