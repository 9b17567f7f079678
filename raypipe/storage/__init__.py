"""Storage of results: one store on any filesystem, and the tables in it."""
