"""From an ONNX model to variants in a repository: convert, build, gate, measure; and the batch size to run them at."""
