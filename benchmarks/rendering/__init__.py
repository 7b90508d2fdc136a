"""Tables and figures of the documents, made of the results."""
