"""The exported graph: reading, checking, rewriting, counting."""
