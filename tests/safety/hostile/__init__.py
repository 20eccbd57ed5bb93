"""Hostile files, a module for each road by which a file gets into a command. Every module has a table ``CASES``."""
