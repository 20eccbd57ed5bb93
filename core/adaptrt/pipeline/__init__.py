"""The conversion, stage by stage, and loading what it wrote; with it the only caller of hooks."""
