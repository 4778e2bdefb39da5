"""Triggers: asynchronous waiting."""
