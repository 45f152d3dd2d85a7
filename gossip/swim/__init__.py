"""The membership state machine: what memberlist does, without I/O."""
