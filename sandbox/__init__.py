"""A whole simulated hospital: its own data, its own protocols, its own faults. Shares no code with the bus."""
