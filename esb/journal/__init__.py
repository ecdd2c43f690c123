"""The journal for people: what became of an exchange, searched, shown, exported and kept as long as it must be."""
