"""Where a Program runs: one package or file per backend behind `backends.api`."""
