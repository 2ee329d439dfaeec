"""Masks for scans that nobody has outlined: any supported input, masks and measurements out."""
