"""Models: loading, inference, saving and sharing."""
