"""A TensorRT 8.6 that builds nothing: the plan is a JSON account of how the builder was asked."""

import json
from enum import IntEnum

__version__ = "8.6.0"
Severity = IntEnum("Severity", ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"])
BuilderFlag = IntEnum("BuilderFlag", ["FP16", "INT8", "TF32", "VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME"])
NetworkDefinitionCreationFlag = IntEnum("NetworkDefinitionCreationFlag", {"EXPLICIT_BATCH": 0})
ProfilingVerbosity = IntEnum("ProfilingVerbosity", ["DETAILED"])
MemoryPoolType = IntEnum("MemoryPoolType", ["WORKSPACE"])


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity


class Tensor:
    name, shape = "x", (-1, 4)


class Network:
    num_inputs = 1

    def get_input(self, index):
        return Tensor


class Error:
    def desc(self):
        return "unsupported operator"


class OnnxParser:
    num_errors = 1

    def __init__(self, network, logger):
        self.network = network

    def parse_from_file(self, path):
        with open(path, "rb") as file:
            self.network.size = len(file.read())
        return self.network.size > 0

    def get_error(self, index):
        return Error()


class Cache:
    def __init__(self, data):
        self.data = data

    def serialize(self):
        return self.data + b"timing;"


class IBuilderConfig:
    def __init__(self):
        self.flags, self.limits, self.profiles, self.cache = {BuilderFlag.TF32}, {}, [], Cache(b"")

    def set_flag(self, flag):
        self.flags.add(flag)

    def clear_flag(self, flag):
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool, size):
        self.limits[pool.name] = size

    def add_optimization_profile(self, profile):
        self.profiles.append(profile.shapes)
        return len(self.profiles) - 1

    def create_timing_cache(self, data):
        return Cache(data)

    def set_timing_cache(self, cache, ignore_mismatch):
        self.cache = cache
        return not cache.data.startswith(b"another")

    def get_timing_cache(self):
        return self.cache


class Profile:
    def __init__(self):
        self.shapes = {}

    def set_shape(self, name, least, best, most):
        self.shapes[name] = [least, best, most]


class Builder:
    def __init__(self, logger):
        self.logger = logger
        print("a library that prints")  # must not end up among the events

    def create_network(self, flags):
        assert flags == 1
        return Network()

    def create_builder_config(self):
        return IBuilderConfig()

    def create_optimization_profile(self):
        return Profile()

    def build_serialized_network(self, network, config):
        self.logger.log(ILogger.WARNING, "a warning")
        account = {
            "flags": sorted(flag.name for flag in config.flags),
            "limits": config.limits,
            "profiles": config.profiles,
            "verbosity": config.profiling_verbosity.name,
            "timings": config.cache.data.decode(),
        }
        return b"ftrt" + json.dumps(account).encode()
