"""Assembly of a survey: parts made by workers, the empty store, and its shards."""
