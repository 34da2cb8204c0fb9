"""Loads untrusted classifier files without executing any code in them."""
