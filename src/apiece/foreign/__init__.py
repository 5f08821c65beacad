"""Published checkpoint layouts, one file each: pure maps of names."""
