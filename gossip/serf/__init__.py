"""What Serf adds to the membership: tags, Lamport clocks, intents, user events, queries."""
