"""The edge and the composition."""
