"""How checks are made: one kind per module, and `agent.check_runners.runners`, which knows them all."""
