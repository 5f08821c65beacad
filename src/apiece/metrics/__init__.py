"""One file a community's figures."""
