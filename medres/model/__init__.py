"""A network and all that must travel with it."""
