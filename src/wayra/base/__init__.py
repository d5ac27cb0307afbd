"""What every room stands on: errors, weight formats, settings, logging. Imports nothing of wayra."""
