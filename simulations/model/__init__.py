"""A vectorised model of gossip for pools too large to simulate node by node, and its validation."""
