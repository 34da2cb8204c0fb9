"""What spreads the blocks of a job over workers: this process, Ray Data, or the processes of Accelerate."""
