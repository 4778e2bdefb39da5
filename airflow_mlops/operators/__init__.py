"""Operators: render, call core, publish, return."""
