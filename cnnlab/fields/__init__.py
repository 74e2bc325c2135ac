"""Receptive fields: exact for every layer of a network, and measured by gradients."""
