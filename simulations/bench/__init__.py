"""Measurements: our agents beside genuine Serf and Consul, in one run on one machine."""
