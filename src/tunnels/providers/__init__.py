"""Who provides tunnels: what to start, with what, and how to read what it says."""
