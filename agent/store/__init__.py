"""The catalog of a datacenter: its nodes, their services and checks, kept by the server that leads.

    register, deregister --queue--> SQLite, on a thread --committed--> `Catalog`, in memory --> readers
                                                               |
                                                               +--> who waits for what changed

SQLite decides and remembers: a write is judged, stored and synced to the disk before anybody sees it or is
told that it was done. Readers never touch the disk: what was committed is mirrored into dictionaries on
the event loop, and they are all that a read looks at.

`entries` are the nouns, `writes` the rules of a write, `sqlite` the engine on its thread, `catalog` the
mirror, `watch` who is woken by what, and `store` puts them together.
"""
