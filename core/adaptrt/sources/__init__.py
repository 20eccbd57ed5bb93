"""Where images come from: files, folders, patterns, lists, URLs, videos, cameras and network streams."""
