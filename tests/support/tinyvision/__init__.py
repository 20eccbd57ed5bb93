"""A vision framework as small as can be, with the habits of large ones; tests adapt it. Needs torch."""
