"""Forwarding: requests that another agent has to answer travel to it through the servers' port.

    client agent --1--> server of its datacenter --2--> server of another datacenter --3--> its leader

A client knows the members of its own datacenter only, so what concerns another one goes through a server,
which knows the servers of all datacenters from the WAN pool. What only the leader of a datacenter knows,
the other servers of it send on to the leader; whoever knows which server leads asks that one at once. Which member is a server, where its port is
and whether it speaks this protocol is in its gossip tags, see `agent.servers`. No request travels more
than three hops (two, if it is not for a leader), so agents that disagree about who serves what cannot pass one around in circles.

`messages` is what travels, `envelope` how it is sealed with the gossip key, `challenges` why a copy of it
is worth nothing, `forwarder` the asking side and `listener` the answering one.
"""
