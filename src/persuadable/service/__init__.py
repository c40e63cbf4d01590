"""Decisions as a service: an API that can be trusted with a budget, and the store that remembers what it did."""
