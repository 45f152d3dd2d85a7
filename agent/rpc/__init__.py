"""Serf's RPC as an interface of the agent: the genuine ``serf`` command line works with it."""
