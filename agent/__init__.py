"""A Consul-compatible agent around a gossip member."""
