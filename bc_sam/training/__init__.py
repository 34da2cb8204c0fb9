"""Training: experiments and adaptations, their folds and stages, and the shared training loop."""
