"""Ways to get to another form of a weight: one file a method, found by the registry."""
