"""Anti-entropy: the catalog of the datacenter says of this node what this agent says."""
