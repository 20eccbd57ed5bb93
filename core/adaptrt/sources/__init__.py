"""Where images come from: files, folders, patterns, lists, URLs, videos, cameras and network streams.

``find_sources`` makes sources of what a user names, ``FrameStream`` reads several of them in batches.
"""

from adaptrt.sources.find import SourceOptions, find_sources
from adaptrt.sources.frames import Frame, Source
from adaptrt.sources.stream import FrameStream

__all__ = ["Frame", "FrameStream", "Source", "SourceOptions", "find_sources"]
