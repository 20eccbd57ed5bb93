"""Decoders: raw outputs to predictions, in numpy. ``adaptrt.specs.decoders`` finds one by name; each is imported only then."""
