"""What a person runs on a node, one command per file; each has main(words) and returns the exit
status."""
