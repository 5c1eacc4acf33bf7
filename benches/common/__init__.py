"""What the benchmarks share: processes pinned to cores and their CPU, the gateway, its rivals, and how results are printed."""
