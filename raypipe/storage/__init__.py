"""Where results are kept: one store on any file system, and the tables in it."""
