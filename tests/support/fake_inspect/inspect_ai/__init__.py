"""Stands where Inspect does: asks the server one question a sample and leaves a log in Inspect's form."""
