"""A cluster of our agents as processes on this machine: ``async with LocalCluster(3) as cluster``."""

from simulations.cluster.agent import LocalAgent
from simulations.cluster.cluster import LocalCluster
from simulations.cluster.datacenters import LocalDatacenters

__all__ = ["LocalAgent", "LocalCluster", "LocalDatacenters"]
