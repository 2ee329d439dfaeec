"""Sharing a bundle: packaging it for others, and inspecting what others send."""
