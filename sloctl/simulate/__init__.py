"""Policies and SLOs over a recorded or synthetic load, against a queueing model of the variants. Pure."""
