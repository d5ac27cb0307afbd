"""What hardware and tokens cost: dated tables with sources, a user's own price file, and the list of API prices."""
