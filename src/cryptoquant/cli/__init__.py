"""The command line: verbs over the same calls that a notebook makes; the one room that knows all others."""
