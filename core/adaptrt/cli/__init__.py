"""The commands. Modules here import click and nothing heavier until a command runs."""
