"""The commands of ``gossip``, one module each, imported only when the command is used."""
