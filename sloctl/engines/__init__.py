"""Engines: what hosts a model on a device. ONNX Runtime on the CPU is the embedded default; TensorRT on GPUs."""

import os

# ONNX Runtime 1.29 and later report sessions and model names to Microsoft unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
