"""Exporters: metric families in, an exposition format or a push out; and NVML as a source of families."""
