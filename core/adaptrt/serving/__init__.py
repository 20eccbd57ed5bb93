"""A converted model behind a plain HTTP server, for trying it out."""
