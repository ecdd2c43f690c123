"""A package of adapters for tests: the one system does what its script says."""
