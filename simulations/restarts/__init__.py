"""A node that is killed at random instants and started again, with a snapshot, while events are fired."""
