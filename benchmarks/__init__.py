"""Measurements. Times of one machine mean little: each prints a ratio against a named peer."""
