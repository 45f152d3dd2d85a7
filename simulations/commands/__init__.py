"""What ``python -m simulations`` can do: one module per subcommand, or per few that belong together.

Each has ``add_to(commands)``, which adds its parsers and sets ``do``: a function of the parsed options
that gives the exit status. The table of modules is in `simulations.__main__`.
"""
