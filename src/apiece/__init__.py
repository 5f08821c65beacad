"""apiece: every family of instance segmentation behind one contract."""
