"""Functions and modules that two methods or more use; they know no method."""
