"""What is checked in a merged configuration, one kind of mistake a file; each rule yields findings."""
