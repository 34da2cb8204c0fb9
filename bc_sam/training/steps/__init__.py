"""What each training step learns, from which data and by which loss."""
