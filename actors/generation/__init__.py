"""Generation: prompts, model clients, the parsers of their output, and the pipeline of a run."""
