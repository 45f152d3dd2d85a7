"""The gossip protocol: a member of a Serf pool as a plain asyncio library."""
