"""Sensors: thin, deferrable, one predicate shared with their trigger."""
