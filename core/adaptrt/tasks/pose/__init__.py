"""Objects with keypoints."""
