"""What a reading of all GPUs costs, and which part of it: `python -m bench.nvml_tick --readings 60`."""

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from sloctl_exporters.nvml import NvmlSource
from sloctl_exporters.nvml_gpu import Gpu


def _timed(gpu: Gpu, took: dict[str, list[float]]) -> None:
    def wrap(name: str, part: Callable[[float], Any]) -> Callable[[float], Any]:
        def call(now: float) -> Any:
            begun = time.perf_counter()
            try:
                return list(part(now))
            finally:
                took[name].append(time.perf_counter() - begun)

        return call

    gpu._parts = [(name, wrap(name, part)) for name, part in gpu._parts]  # noqa: SLF001  there is no other seam


def _line(name: str, seconds: list[float]) -> str:
    ordered = sorted(1e3 * s for s in seconds)
    ninth = ordered[int(0.9 * (len(ordered) - 1))]
    return f"| {name} | {statistics.median(ordered):.2f} | {ninth:.2f} | {ordered[-1]:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--readings", type=int, default=60)
    parser.add_argument("--interval", type=float, default=1.0)
    arguments = parser.parse_args()
    source, parts, took = NvmlSource(names="both"), defaultdict[str, list[float]](list), []
    for reading in range(arguments.readings + 1):
        begun = time.perf_counter()
        source.read()
        took.append(time.perf_counter() - begun)
        if reading == 0:
            for gpu in source._gpus or ():  # noqa: SLF001
                _timed(gpu, parts)
        time.sleep(arguments.interval)
    first, *others = took
    print(f"{source.state}; the first reading took {1e3 * first:.1f} ms\n")
    print("| ms | median | ninth decile | most |\n| --- | --- | --- | --- |")
    for name, seconds in (("a reading", others), *parts.items()):
        print(_line(name, seconds))
    source.close()


if __name__ == "__main__":
    main()
