"""Documented addresses of the older library. Nothing inside imports them."""
