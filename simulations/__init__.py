"""Clusters for experiments: local processes and virtual time."""
