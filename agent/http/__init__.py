"""The HTTP interface, one module per category of Consul's API."""
