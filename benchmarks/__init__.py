"""Load and micro-benchmarks of zexio and its peers."""
