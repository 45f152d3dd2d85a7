"""asyncio programs under virtual time: the event loop, its machines, and the network between them."""

from simulations.virtual.loop import StalledError, VirtualLoop
from simulations.virtual.machine import VirtualMachine

__all__ = ["StalledError", "VirtualLoop", "VirtualMachine"]
