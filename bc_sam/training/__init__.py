"""Training: experiments and adaptations, the folds and stages they consist of, and the loop that the stages share."""
