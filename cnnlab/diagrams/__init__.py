"""Drawings of networks, made from the modules themselves."""
