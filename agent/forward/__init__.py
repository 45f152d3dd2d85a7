"""Forwarding: requests that another agent has to answer travel to it through the servers' port.

    client agent --1--> server of its datacenter --2--> server of another datacenter

A client knows the members of its own datacenter only, so what concerns another one goes through a server,
which knows the servers of all datacenters from the WAN pool. Which member is a server, where its port is
and whether it speaks this protocol is in its gossip tags, see `agent.servers`. No request travels more
than two hops, so agents that disagree about who serves what cannot pass one around in circles.

`messages` is what travels, `envelope` how it is sealed with the gossip key, `challenges` why a copy of it
is worth nothing, `forwarder` the asking side and `listener` the answering one.
"""
