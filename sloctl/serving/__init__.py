"""The data plane: V2 over HTTP, admission, batching, engines, health probes and layer sampling.

`dataplane` is the transport-free heart; `http` speaks ASGI to it; `main` is the process.
"""
