"""Latency and throughput of several files, measured in turns in one process."""
