"""The page that lists all runs of a store."""

from raypipe.report.leaderboard import rank_models
from raypipe.report.page.render import render
from raypipe.storage.store import Store

INDEX_FILE = "index.html"


def write_index(store: Store) -> str:
    """Write the index of a store to its root, and return its path."""
    boards, left_out = rank_models(store)
    page = render("index", title="raypipe runs", boards=boards, left_out=left_out, location=store.root)
    store.write_bytes(INDEX_FILE, page)
    return store.path(INDEX_FILE)
