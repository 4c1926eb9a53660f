"""The control plane: registry, topology, projection, admin API, command line."""
