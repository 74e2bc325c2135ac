"""Figures and helpers of the lessons, a module for each topic."""
