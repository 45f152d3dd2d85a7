"""Watches: a handler runs whenever what an agent answers to a question changes.

`agent.watches.plan` says what is asked and who is told, `agent.watches.progress` what of the answers is news;
both serve ``gossip watch`` as well. The agent's own watches are driven by `agent.watches.watcher`.
"""
