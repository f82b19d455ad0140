"""Engines: what hosts a model on a device. ONNX Runtime on the CPU is the embedded default; TensorRT on GPUs."""
