"""What ``adaptrt inspect`` reads and shows: a module for each kind of file, one description for all."""
