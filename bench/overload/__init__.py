"""The goals under overload, measured: `python -m bench.overload`."""
