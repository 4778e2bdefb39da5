"""Hooks: a connection becomes core values."""
