"""Files of converted models for other servers and pipelines: ``adaptrt package``."""
