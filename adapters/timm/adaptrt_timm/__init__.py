"""adaptrt adapters for timm. Importing this imports neither torch nor timm."""
