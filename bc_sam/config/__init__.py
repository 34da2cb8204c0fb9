"""What can be set, and the names of the classes."""
