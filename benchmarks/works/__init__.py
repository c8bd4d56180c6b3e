"""The works that simulators are compared on: each a module with data, our ways and the peers' ways."""
