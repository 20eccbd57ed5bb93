"""Decoders: raw outputs to predictions, in numpy. ``registry`` finds one by name; each is imported only then."""
