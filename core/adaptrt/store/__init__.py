"""Files on disk: the content-addressed cache, hashes, the names of model files."""
