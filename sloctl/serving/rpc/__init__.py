"""V2 over gRPC: `inference.GRPCInferenceService` as Triton and KServe have it, and gRPC's own health service."""
