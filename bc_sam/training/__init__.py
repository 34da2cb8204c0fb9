"""The two torch stages: their data, their augmentation and the loop that they share."""
