"""A first experiment file for a data set: what is in it, the settings that suit it, and the text of the file."""
