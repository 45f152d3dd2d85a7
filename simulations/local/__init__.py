"""Processes on this machine: start and end them, their ports, HTTP to them, waiting for them."""
