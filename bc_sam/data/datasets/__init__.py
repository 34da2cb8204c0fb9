"""One loader for each published data set, for folders and for rendered cells."""
