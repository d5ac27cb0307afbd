"""Reading a config.json of Hugging Face into an `Architecture`: by its keys, and by what families do not write down."""
