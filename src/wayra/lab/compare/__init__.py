"""Models head to head: what their recorded runs show side by side, and which differences are more than chance."""
