"""The bundle's own code."""
